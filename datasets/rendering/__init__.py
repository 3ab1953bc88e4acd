"""Render problems for people: matrices in a terminal, formulas as text and LaTeX."""
