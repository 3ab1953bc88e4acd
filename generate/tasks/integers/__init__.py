"""Tasks of integers: common divisors, fractions, modular arithmetic. One file a task."""
