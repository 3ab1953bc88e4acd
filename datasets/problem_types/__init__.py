"""What a problem is: one adapter each for matrices, expressions, sequences and integers."""
