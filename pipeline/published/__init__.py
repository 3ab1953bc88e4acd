"""Published results and ours: what an experiment costs, running it, its record, and the page of all records."""
