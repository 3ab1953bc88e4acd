"""Datasets that exist: verify, deduplicate, import published files."""
