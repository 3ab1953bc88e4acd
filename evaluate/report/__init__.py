"""The report of one evaluation: HTML page, plots, failures as text."""
