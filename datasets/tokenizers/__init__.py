"""Problems as tokens: numbers, matrices, expressions, sequences over an alphabet, integers."""
