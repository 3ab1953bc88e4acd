"""How a dataset is built: chunks, shards, the whole, one process at a time."""
