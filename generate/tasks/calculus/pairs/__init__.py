"""Samplers of the calculus tasks, imported at the first pair: they need symengine and tables."""
