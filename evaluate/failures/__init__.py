"""Failed problems: dumped, read back, drawn."""
