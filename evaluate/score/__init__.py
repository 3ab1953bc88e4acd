"""Scoring: the outcome and error measures of each prediction."""
