"""Exact proofs of identities."""
