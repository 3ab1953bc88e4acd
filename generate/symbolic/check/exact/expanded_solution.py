"""Quick identities of differential equations: the equation with its solution substituted expands to 0 in symengine.

As for antiderivatives (``expanded_identity``), whose rewrites hold on principal branches. What the solution divides by may be
zero in disguise, so callers also look at values. Expansion is bounded: a pair that takes more terms is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.generate.symbolic.check.exact.expanded_identity import is_zero
from mathpipe.generate.symbolic.check.exact.expression_builder import ExpressionBuilder, power
from mathpipe.generate.symbolic.check.exact.symengine_expressions import HALF, ONE, TWO, UNDECIDED, ZERO, Expression
from mathpipe.generate.symbolic.check.exact.term_counts import count_terms

MAX_TERMS = 500  # bound on the terms of an expanded expression


def _root(radicand: Expression) -> Expression:
    return power(radicand, HALF)


_OF_INVERSES: dict[str, dict[str, Callable[[Expression], Expression]]] = {
    "sin": {"asin": lambda u: u, "acos": lambda u: _root(ONE - u**TWO), "atan": lambda u: u / _root(ONE + u**TWO)},
    "cos": {"acos": lambda u: u, "asin": lambda u: _root(ONE - u**TWO), "atan": lambda u: ONE / _root(ONE + u**TWO)},
    "sinh": {
        "asinh": lambda u: u,
        "acosh": lambda u: _root(u - ONE) * _root(u + ONE),
        "atanh": lambda u: u / _root(ONE - u**TWO),
    },
    "cosh": {
        "acosh": lambda u: u,
        "asinh": lambda u: _root(ONE + u**TWO),
        "atanh": lambda u: ONE / _root(ONE - u**TWO),
    },
}
"""sin(acos u) = sqrt(1 - u^2) and the like."""
_QUOTIENTS = {"tan": ("sin", "cos"), "tanh": ("sinh", "cosh"), "cot": ("cos", "sin"), "coth": ("cosh", "sinh")}
_ODD = ("sin", "sinh")


class SolutionBuilder(ExpressionBuilder):
    """Also rewrites e^(n ln u + v) = u^n e^v, and sines and cosines of inverse functions; both hold on principal branches."""

    def apply(self, token: int, u: Expression) -> Expression:
        name = TOKENS[token]
        if name == "exp":
            return _exponential(_expand(u))
        if name in _QUOTIENTS:
            over, under = _QUOTIENTS[name]
            u = _expand(u)
            return self._circular(over, u) / self._circular(under, u)
        if name in _OF_INVERSES:
            return self._circular(name, _expand(u))
        return super().apply(token, u)

    def _circular(self, name: str, u: Expression) -> Expression:
        """sin, cos, sinh or cosh of u, which may be an inverse function or its negative."""
        for v, sign in ((u, ONE), (-u, -ONE if name in _ODD else ONE)):
            inverse, argument = type(v).__name__, v.args[0] if len(v.args) == 1 else None
            if v.is_Symbol:
                inverse, argument = "acosh", next((w for w, symbol in self.symbols.items() if symbol == v), None)
            rewrite = _OF_INVERSES[name].get(inverse)
            if rewrite is not None and argument is not None:
                return sign * rewrite(argument)
        return getattr(se, name)(u)


def _expand(u: Expression) -> Expression:
    """u, multiplied out if it is a sum or a product."""
    if not (u.is_Add or u.is_Mul):
        return u
    count_terms(u, MAX_TERMS)
    return se.expand(u)


def _exponential(u: Expression) -> Expression:
    """e^u: rational multiples of logarithms among its terms become powers."""
    factors, rest = [], []
    for term in u.args if u.is_Add else (u,):
        logarithm, coefficient = term, ONE
        if term.is_Mul and len(term.args) == 2 and term.args[0].is_Rational:
            coefficient, logarithm = term.args
        if type(logarithm) is classes.log:
            factors.append(power(logarithm.args[0], coefficient))
        else:
            rest.append(term)
    return se.Mul(*factors, se.exp(se.Add(*rest)))


def solution_expands(equation: bytes, solution: bytes, unknowns: tuple[str, ...], constants: tuple[str, ...]) -> bool:
    """Whether the equation expands to 0 with y and its derivatives in place of the ``unknowns``. False: not known.

    ``equation``, ``solution``: well-formed prefix sequences.
    """
    builder = SolutionBuilder({IDS[name]: se.Symbol(name) for name in constants})
    try:
        values = [builder.build(solution)]
        while len(values) < len(unknowns):
            values.append(builder.derivative(values[-1]))
        builder.set_leaves({IDS[name]: value for name, value in zip(unknowns, values, strict=True)})
        return _expands_to_zero(builder.build(equation))
    except UNDECIDED:
        return False


def _expands_to_zero(residual: Expression) -> bool:
    """Whether a residual expands to 0, if it takes at most ``MAX_TERMS`` terms."""
    if residual == ZERO:
        return True
    count_terms(residual, MAX_TERMS)
    return is_zero(se.expand(residual), 2 * MAX_TERMS)
