"""Comparison of several evaluations: tables, transfer matrix, HTML page."""
