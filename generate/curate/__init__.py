"""Datasets and data files that exist: verify, prove, deduplicate, import."""
