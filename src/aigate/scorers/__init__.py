"""Scorers judge responses: one file per family, found by name (`make_scorer`)."""
