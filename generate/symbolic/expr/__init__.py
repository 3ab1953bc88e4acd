"""Expressions: canonical form, rewriting, simplification, random trees."""
