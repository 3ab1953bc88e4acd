"""The HTML report of one evaluation."""
