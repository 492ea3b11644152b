"""Keeping runs and baselines: atomic writes, digests checked on read, a history that is only appended to."""
