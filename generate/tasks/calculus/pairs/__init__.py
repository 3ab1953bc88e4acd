"""Samplers of the calculus tasks, imported on demand because they need symengine and tables."""
