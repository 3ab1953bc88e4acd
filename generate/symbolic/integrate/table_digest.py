"""The digest of the table of primitives (see ``primitives``), which tasks name without building the table."""

TABLE = "068be2d7f9b5bb2c"
