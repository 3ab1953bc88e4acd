"""Differential equations from their solutions: eliminate the constants, normalise the equation."""
