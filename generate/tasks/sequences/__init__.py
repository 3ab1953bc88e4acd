"""Tasks whose problems and solutions are short sequences over a small alphabet."""
