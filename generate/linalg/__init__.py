"""Linear algebra over ragged batches, and searches for better rounded solutions."""
