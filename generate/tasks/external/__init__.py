"""Tasks outside the package: named by a file, a module or an entry point, and identified by a digest of their source."""
