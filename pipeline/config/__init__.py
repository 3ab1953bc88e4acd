"""Parameters: their schema, how flags and files are merged, options made of them, counts such as ``10k``."""
