"""Parameters: schema, resolution of flags and files, command-line options made from the schema, counts such as ``10k``."""
