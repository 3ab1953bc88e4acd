"""Problems as tokens: numbers, matrices, expressions, bits."""
