"""Tasks whose problems and solutions are matrices."""
