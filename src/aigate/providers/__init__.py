"""Providers answer samples: one file each, found by name (`make_provider`)."""
