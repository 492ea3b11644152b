"""The nouns everything speaks: pure data, no I/O."""
