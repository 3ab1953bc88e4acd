"""Problems as people read them: matrices in a terminal, formulas as text and LaTeX."""
