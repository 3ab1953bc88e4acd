"""Tasks on polynomials: roots, sums and products over finite fields. One file a task."""
