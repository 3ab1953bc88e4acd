"""Files on any file system, and published text files."""
