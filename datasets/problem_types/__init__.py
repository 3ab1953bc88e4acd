"""What a problem is: one adapter each for matrices, expressions and sequences."""
