"""Heuristics that reject integrands early: most random expressions have no elementary primitive.

A factor h(w), where h is an exponential, sine or hyperbolic function and w is neither linear nor contains a logarithm, inverse
function or root of x, needs a factor of w' beside it. So does a denominator or root that mixes x with functions of x. These are
heuristics: a rejected integrand may still have an elementary primitive, which is then not found.
"""

from __future__ import annotations

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import Expr, X
from mathpipe.generate.symbolic.expr.rewriting import factor_out_content, factors, has_x

_ENTIRE = (classes.sin, classes.cos, classes.tan, classes.sinh, classes.cosh, classes.tanh)
INVERSE = (
    *(classes.log, classes.asin, classes.acos, classes.atan),
    *(classes.asinh, classes.acosh, classes.atanh),
)


def power_base(e: Expr) -> Expr:
    """The base of a factor that is a power; an exponential is its own base."""
    if type(e) is classes.Pow and e.args[0] != se.E:
        return e.args[0]
    return e


def is_exponential(e: Expr) -> bool:
    """Whether e is an exponential e^w."""
    return type(e) is classes.Pow and e.args[0] == se.E


def kernels(e: Expr) -> set[Expr]:
    """The outermost functions of x in an expression, exponentials included."""
    outermost: set[Expr] = set()
    stack = [e]
    while stack:
        part = stack.pop()
        kind = type(part)
        if kind is classes.Symbol or part.is_Number:
            continue
        if kind in (classes.Add, classes.Mul):
            stack += part.args
        elif kind is classes.Pow and not is_exponential(part):
            stack.append(part.args[0])
        elif has_x(part):
            outermost.add(part)
    return outermost


def likely_nonelementary(e: Expr) -> bool:
    """Whether a factor of this product needs another factor that is missing."""
    bases = [power_base(factor) for factor in factors(e)]
    for factor, base in zip(factors(e), bases, strict=True):
        if type(base) in _ENTIRE:
            inner = base.args[0]
        elif is_exponential(base):
            inner = base.args[1]
        elif type(base) is classes.Add and base is not factor and _mixes_x(base) and not _is_integer_power(factor):
            inner = base
        else:
            continue
        if _lacks_inner_derivative(inner, base, bases):
            return True
    return False


def _is_integer_power(power: Expr) -> bool:
    return isinstance(power.args[1], classes.Integer) and int(power.args[1]) > 0


def _mixes_x(e: Expr) -> bool:
    """Whether a sum contains both x itself (or a power of it) and functions of x."""
    functions = kernels(e)
    return bool(functions) and has_x(e.xreplace(dict.fromkeys(functions, _KERNEL)))


_KERNEL = se.Symbol("_k")


def _lacks_inner_derivative(w: Expr, base: Expr, bases: list[Expr]) -> bool:
    """Whether w' is not constant and none of its factors is among the bases."""
    if w == X or any(_eliminates_x(p) for p in (*w.atoms(*INVERSE), *w.atoms(classes.Pow))):
        return False
    slope = w.diff(X)
    if not has_x(slope):
        return False
    for part in factors(slope):
        needed = power_base(part)
        if not has_x(needed):
            continue
        if type(needed) is classes.Add:
            if any(_proportional_sums(needed, other) for other in bases):
                return False
            common = _common_bases(needed)
            if any(_matches(c, other) for c in common for other in bases if other is not base):
                return False
        elif any(_matches(needed, other) for other in bases if other is not base):
            return False
    return True


def _eliminates_x(part: Expr) -> bool:
    """Whether part is a logarithm, inverse function or root of x, for which a substitution can eliminate x."""
    if type(part) is not classes.Pow:
        return has_x(part)
    exponent = part.args[1]
    return not isinstance(exponent, classes.Integer) and isinstance(exponent, classes.Rational) and has_x(part.args[0])


def _matches(needed: Expr, other: Expr) -> bool:
    if is_exponential(needed):
        return is_exponential(other)
    return bool(needed == other or (type(other) is classes.Add and needed in other.atoms(type(needed))))


def _proportional_sums(a: Expr, b: Expr) -> bool:
    """Whether two sums differ by a constant factor."""
    return (
        type(b) is classes.Add
        and len(a.args) == len(b.args)
        and not has_x(factor_out_content(a) / factor_out_content(b))
    )


def _common_bases(e: Expr) -> list[Expr]:
    """The bases that depend on x and occur as factors in all terms of a sum."""
    shared: set[Expr] | None = None
    for term in e.args:
        bases = {power_base(f) for f in factors(term) if has_x(f)}
        shared = bases if shared is None else shared & bases
    return sorted(shared or (), key=str)
