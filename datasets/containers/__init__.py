"""Ragged batches of matrices and sequences; batches of tokens."""
