"""The parameters of problems, one module a problem type."""
