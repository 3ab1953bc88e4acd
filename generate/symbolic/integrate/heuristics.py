"""Integrands that no rule of ours will solve, told at a glance: most that are drawn have no elementary primitive.

A factor h(w), h exponential or a wave, w neither linear nor a logarithm of something, needs a factor of w' beside it; so does a
denominator or root that mixes x with functions of x. A heuristic: what is refused here is merely not found.
"""

from __future__ import annotations

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import Expr, X
from mathpipe.generate.symbolic.expr.rewriting import content_free, factors, has_x

_ENTIRE = (classes.sin, classes.cos, classes.tan, classes.sinh, classes.cosh, classes.tanh)
INVERSE = (
    *(classes.log, classes.asin, classes.acos, classes.atan),
    *(classes.asinh, classes.acosh, classes.atanh),
)


def base_of(e: Expr) -> Expr:
    """What a factor is an integer or rational power of; an exponential is its own base."""
    if type(e) is classes.Pow and e.args[0] != se.E:
        return e.args[0]
    return e


def is_exponential(e: Expr) -> bool:
    """e^w."""
    return type(e) is classes.Pow and e.args[0] == se.E


def kernels(e: Expr) -> set[Expr]:
    """The functions of x in an expression, exponentials included, not those within their operands."""
    found: set[Expr] = set()
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
            found.add(part)
    return found


def hopeless(e: Expr) -> bool:
    """Whether a factor of this product needs another one that is not there."""
    bases = [base_of(factor) for factor in factors(e)]
    for factor, base in zip(factors(e), bases, strict=True):
        if type(base) in _ENTIRE:
            needs = base.args[0]
        elif is_exponential(base):
            needs = base.args[1]
        elif type(base) is classes.Add and base is not factor and _mixed(base) and not _whole(factor):
            needs = base
        else:
            continue
        if _lacks(needs, base, bases):
            return True
    return False


def _whole(power: Expr) -> bool:
    return isinstance(power.args[1], classes.Integer) and int(power.args[1]) > 0


def _mixed(e: Expr) -> bool:
    """A sum of x itself (or a power) and functions of x."""
    inner = kernels(e)
    return bool(inner) and has_x(e.xreplace(dict.fromkeys(inner, _NAMED)))


_NAMED = se.Symbol("_k")


def _lacks(w: Expr, base: Expr, bases: list[Expr]) -> bool:
    """Whether w' is not constant and none of its factors stands among the bases."""
    if w == X or any(_opens(p) for p in (*w.atoms(*INVERSE), *w.atoms(classes.Pow))):
        return False
    slope = w.diff(X)
    if not has_x(slope):
        return False
    for part in factors(slope):
        needed = base_of(part)
        if not has_x(needed):
            continue
        if type(needed) is classes.Add:
            if any(_same_sum(needed, other) for other in bases):
                return False
            common = _common(needed)
            if any(_meets(c, other) for c in common for other in bases if other is not base):
                return False
        elif any(_meets(needed, other) for other in bases if other is not base):
            return False
    return True


def _opens(part: Expr) -> bool:
    """A logarithm, inverse function or root of x, through which a substitution gets at x without its derivative."""
    if type(part) is not classes.Pow:
        return has_x(part)
    exponent = part.args[1]
    return not isinstance(exponent, classes.Integer) and isinstance(exponent, classes.Rational) and has_x(part.args[0])


def _meets(needed: Expr, other: Expr) -> bool:
    if is_exponential(needed):
        return is_exponential(other)
    return bool(needed == other or (type(other) is classes.Add and needed in other.atoms(type(needed))))


def _same_sum(a: Expr, b: Expr) -> bool:
    """Sums that differ by a constant factor."""
    return type(b) is classes.Add and len(a.args) == len(b.args) and not has_x(content_free(a) / content_free(b))


def _common(e: Expr) -> list[Expr]:
    """Factors with x that all terms of a sum share."""
    shared: set[Expr] | None = None
    for term in e.args:
        here = {base_of(f) for f in factors(term) if has_x(f)}
        shared = here if shared is None else shared & here
    return sorted(shared or (), key=str)
