"""The process behind ``sympy_fallback``: a line with two expressions as hexadecimal token ids in, a line with an answer out."""

from __future__ import annotations

import sys

import sympy

from mathpipe.datasets.expressions.prefix import parse
from mathpipe.datasets.expressions.sympy_bridge import to_sympy


def decide(integrand: bytes, predicted: bytes) -> str:
    """Whether d predicted / dx - integrand simplifies to zero."""
    solution, problem = parse(predicted), parse(integrand)
    x = sympy.Symbol("x", real=True, nonzero=True)
    try:
        difference = sympy.simplify(sympy.diff(to_sympy(solution), x) - to_sympy(problem))
    except Exception:  # SymPy may raise anything
        return "undecided"
    if difference == 0:
        return "equivalent"
    is_number = difference.is_number and difference.is_finite and difference.is_zero is False
    return "wrong_value" if is_number else "undecided"


def main() -> None:
    answers = sys.stdout
    sys.stdout = sys.stderr  # nothing that SymPy prints is an answer
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        integrand, predicted = map(bytes.fromhex, line.split(" "))
        print(decide(integrand, predicted), file=answers, flush=True)


if __name__ == "__main__":
    main()
