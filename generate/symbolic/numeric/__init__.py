"""Expressions as numbers: array programs, derivatives, evaluation points, high precision."""
