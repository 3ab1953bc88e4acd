"""Ragged batches of matrices and sequences; batches of token tensors."""
