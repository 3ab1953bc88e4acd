"""Tasks whose problems and solutions are expressions: integrals, differential equations."""
