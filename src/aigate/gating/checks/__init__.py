"""Checks: one rule each, one file each, found by name."""
