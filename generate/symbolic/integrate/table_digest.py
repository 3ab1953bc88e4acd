"""The digest of the table of primitives (``primitive_table``): tasks name it in their specs without building the table."""

TABLE_DIGEST = "068be2d7f9b5bb2c"
