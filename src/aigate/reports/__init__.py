"""A verdict in, a document out: terminal, markdown, JSON. All tell the same story (see `story`)."""
