"""Symbolic mathematics: random expressions, differentiation, integration, and numerical verification."""
