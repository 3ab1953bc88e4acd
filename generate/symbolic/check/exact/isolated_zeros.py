"""Which expressions are zero on an interval only if they are zero everywhere, so that one value that is not zero tells.

sqrt(x^2) - x is not such an expression: it is zero for x > 0 only. Two properties are decided by the form of a tree:

``is_rigid``: if it has the constant value c on an interval, it has it wherever it is defined. Single-valued analytic functions of
the plane are rigid. So is g(u) for rigid u and any elementary function g: if g(u) = c on an interval, u is one of the isolated
solutions there, hence everywhere. And so are polynomials in one ln u, one inverse function of u or one root of u, for a rational
function u, with coefficients that are single-valued: continued around a branch point, a polynomial that is zero stays zero, and the
logarithm or root takes all its values there, so that all coefficients vanish. A root has a branch point where u has a simple zero.

``has_isolated_zeros``: the same for c = 0 alone; products and powers of such factors are included.
"""

from __future__ import annotations

from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.generate.symbolic.check.singular_points import as_fraction

_ARITHMETIC = {"add", "sub", "mul", "div", "inv", "pow2", "pow3", "pow4", "pow5"}
_SINGLE_VALUED = {"exp", "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "sech", "csch"}
_LOGARITHMS = {"ln", "asin", "acos", "acosh", "atanh"}
_INVERSES = {"asin", "acos", "atan", "asinh", "acosh", "atanh"}
_ZERO_AT_ZERO_ONLY = {"sqrt", "asin", "atan", "asinh", "atanh", "pow2", "pow3", "pow4", "pow5"}
_POLES_OF_FUNCTIONS = {"tan", "cot", "sec", "csc", "tanh", "coth", "sech", "csch"}
_UNARY = _SINGLE_VALUED | _INVERSES | _ZERO_AT_ZERO_ONLY | {"inv", "ln"}


def derivative_has_isolated_singularities(tree: Tree) -> bool:
    """Whether everything that the derivative of an expression divides by has isolated zeros."""
    if isinstance(tree, int) or len(tree) == 1:
        return True
    if not all(derivative_has_isolated_singularities(child) for child in tree[1:]):
        return False
    name = TOKENS[tree[0]]
    if name == "div":
        return has_isolated_zeros(tree[2])
    if name == "rac" and not _is_rational(tree[2]):
        return False
    if name in ("inv", "ln", "sqrt", "rac") or (name == "pow" and not _is_natural(tree[2])):
        return has_isolated_zeros(tree[1])
    if name in _INVERSES or name in _POLES_OF_FUNCTIONS:
        return is_rigid(tree[1])
    return True


def has_isolated_zeros(tree: Tree) -> bool:
    """Whether an expression that is zero on an interval is zero everywhere; False: not known."""
    if isinstance(tree, int) or len(tree) == 1:
        return True
    name = TOKENS[tree[0]]
    if name in ("mul", "div"):
        return has_isolated_zeros(tree[1]) and has_isolated_zeros(tree[2])
    if name in _ZERO_AT_ZERO_ONLY or name == "inv" or (name in ("pow", "rac") and _is_rational(tree[2])):
        return has_isolated_zeros(tree[1])
    return is_rigid(tree)


def is_rigid(tree: Tree) -> bool:
    """Whether an expression that is constant on an interval is that constant everywhere; False: not known."""
    if isinstance(tree, int) or len(tree) == 1 or not _holds_x(tree):
        return True
    if len(tree) == 2 and TOKENS[tree[0]] in _UNARY and is_rigid(tree[1]):
        return True
    branching: set[Tree] = set()
    return _is_polynomial(tree, branching) and len(branching) <= 1


def _is_polynomial(tree: Tree, branching: set[Tree]) -> bool:
    """Whether it is arithmetic over single-valued functions and functions like ln, which are added to ``branching``."""
    if isinstance(tree, int) or len(tree) == 1 or not _holds_x(tree):
        return True
    name = TOKENS[tree[0]]
    if name in _ARITHMETIC:
        return all(_is_polynomial(child, branching) for child in tree[1:])
    if name == "pow" and isinstance(tree[2], int):
        return _is_polynomial(tree[1], branching)
    is_root = name == "sqrt" or (name in ("pow", "rac") and _is_rational(tree[2]))
    if (name in _LOGARITHMS and _is_rational_function(tree[1])) or (is_root and _has_simple_zero(tree[1])):
        branching.add(tree)
        return True
    return is_single_valued(tree)


def is_single_valued(tree: Tree) -> bool:
    """Whether it is free of roots, logarithms, inverse functions, abs and sign of anything that holds x."""
    if isinstance(tree, int) or len(tree) == 1 or not _holds_x(tree):
        return True
    name = TOKENS[tree[0]]
    if name == "pow":
        return (isinstance(tree[2], int) and is_single_valued(tree[1])) or (
            _is_positive(tree[1]) and is_single_valued(tree[2])
        )
    return name in _ARITHMETIC | _SINGLE_VALUED and all(is_single_valued(child) for child in tree[1:])


def _holds_x(tree: Tree) -> bool:
    if isinstance(tree, int):
        return False
    return tree[0] == IDS["x"] if len(tree) == 1 else any(_holds_x(child) for child in tree[1:])


def _is_rational_function(tree: Tree) -> bool:
    """Whether it is a rational function of x, and not constant."""
    fraction = as_fraction(tree)
    if fraction is None:
        return False
    p, q = fraction
    return bool(p.derivative() * q != p * q.derivative())


def _has_simple_zero(tree: Tree) -> bool:
    """Whether it is a rational function of x with a zero or pole of order 1."""
    fraction = as_fraction(tree)
    if fraction is None:
        return False
    p, q = fraction
    product = p * q
    if product == 0:
        return False
    repeated = product.gcd(product.derivative())
    radical = product / repeated
    return bool((radical / radical.gcd(repeated)).degree() > 0)


def _is_rational(tree: Tree) -> bool:
    return isinstance(tree, int) or (TOKENS[tree[0]] == "div" and all(isinstance(child, int) for child in tree[1:]))


def _is_natural(tree: Tree) -> bool:
    return isinstance(tree, int) and tree >= 0


def _is_positive(tree: Tree) -> bool:
    return (isinstance(tree, int) and tree > 0) or tree in ((IDS["E"],), (IDS["pi"],))
