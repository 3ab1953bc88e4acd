"""Failed problems: their fields, dump files, and the selection of the worst."""
