"""Values and derivatives as balls that contain the exact ones, at any precision: Arb (python-flint).

An expression at a point has a value, is undefined, or cannot be told apart from either at this precision. ``Undefined`` is certain:
a division by an exact zero, the abs of a number that is not real. ``CannotTell`` asks for more digits.
The Taylor rules are those of ``taylor``: polynomials in small increments of x and of the constants, truncated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from typing import NamedTuple

from flint import acb, arb, ctx, fmpq

from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import TOKENS
from mathpipe.generate.symbolic.numeric.ball_functions import (
    RULES,
    ZERO,
    Ball,
    Rule,
    Undefined,
    exp,
    ln,
    rational_power,
    reciprocal,
)
from mathpipe.generate.symbolic.numeric.taylor import Algebra

Jet = list[Ball | None]
"""Taylor coefficients, one for each monomial of an algebra; None is an exact zero."""
_PRECISION_LOCK = RLock()


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Compute with this many bits; threads take turns, since the precision of Arb is one for the process."""
    with _PRECISION_LOCK:
        before = ctx.prec
        ctx.prec = bits
        try:
            yield
        finally:
            ctx.prec = before


class Step(NamedTuple):
    """One node: its operator, the rule of a unary operator or of a power, and its operands (positions of earlier nodes)."""

    name: str
    rule: Rule | None
    constant: Ball | None
    left: int
    right: int


class BallProgram:
    """Expressions as one sequence of distinct nodes, operands first; the nodes of earlier expressions come first.

    ``roots``: the node of each expression. ``ends``: the number of nodes of it and of the expressions before it.
    """

    def __init__(self, trees: Iterable[Tree]) -> None:
        self.steps: list[Step] = []
        self._position: dict[Tree, int] = {}
        self.roots: list[int] = []
        self.ends: list[int] = []
        for tree in trees:
            self.roots.append(self._add(tree))
            self.ends.append(len(self.steps))

    def _add(self, tree: Tree) -> int:
        position = self._position.get(tree)
        if position is None:
            step = self._step(tree)
            position = self._position[tree] = len(self.steps)
            self.steps.append(step)
        return position

    def _step(self, tree: Tree) -> Step:
        if isinstance(tree, int):
            return Step("", None, acb(tree), -1, -1)
        name = TOKENS[tree[0]]
        if len(tree) == 1:
            return Step(name, None, None, -1, -1)
        left = self._add(tree[1])
        if len(tree) == 2:
            return Step(name, RULES[name], None, left, -1)
        if name in ("pow", "rac"):
            exponent = rational(tree[2])
            if exponent is not None and (name == "pow" or exponent != 0):
                return Step(name, rational_power(1 / exponent if name == "rac" else exponent), None, left, -1)
        return Step(name, None, None, left, self._add(tree[2]))

    def reachable(self, roots: Iterable[int]) -> list[bool]:
        """Which nodes these expressions use."""
        reached = [False] * len(self.steps)
        for root in roots:
            reached[root] = True
        for k in range(len(self.steps) - 1, -1, -1):
            if reached[k]:
                step = self.steps[k]
                if step.left >= 0:
                    reached[step.left] = True
                if step.right >= 0:
                    reached[step.right] = True
        return reached


def run(
    program: BallProgram,
    algebra: Algebra,
    leaves: Mapping[str, Jet],
    nodes: list[Jet],
    stop: int | None = None,
    with_slopes: list[bool] | None = None,
) -> None:
    """Append the jets of the next nodes up to ``stop``; raises Undefined or CannotTell at the first node that has none.

    Coefficients that are no finite balls are appended as such. ``with_slopes``: the nodes of which more than the value is needed.
    """
    components = len(algebra.monomials)
    for k in range(len(nodes), len(program.steps) if stop is None else stop):
        step = program.steps[k]
        name, rule, constant, left, right = step
        if constant is not None:
            nodes.append([constant, *[None] * (components - 1)])
        elif left < 0:
            nodes.append(leaf(name, leaves, components))
        elif with_slopes is not None and not with_slopes[k]:
            nodes.append([_value(step, nodes)])
        elif rule is not None:
            nodes.append(compose_jet(algebra, rule, nodes[left]))
        else:
            nodes.append(binary_jet(name, algebra, nodes[left], nodes[right]))


def run_values(program: BallProgram, leaves: Mapping[str, Ball]) -> list[Ball]:
    """The values of all nodes; raises Undefined or CannotTell at the first node that has none."""
    nodes: list[Ball] = []
    jets = {name: [value] for name, value in leaves.items()}
    for name, rule, constant, left, right in program.steps:
        if rule is not None:
            nodes.append(rule(nodes[left], 0)[0])
        elif right >= 0:
            nodes.append(_value_of_two(name, nodes[left], nodes[right]))
        else:
            nodes.append(leaf(name, jets, 1)[0] if constant is None else constant)
    return nodes


def evaluate(tree: Tree, algebra: Algebra, leaves: Mapping[str, Jet]) -> Jet:
    """The jet of a tree."""
    nodes: list[Jet] = []
    program = BallProgram([tree])
    run(program, algebra, leaves, nodes)
    return nodes[program.roots[0]]


def leaf(name: str, leaves: Mapping[str, Jet], components: int) -> Jet:
    """The jet of a variable, a constant or an unknown; raises Undefined for other leaves."""
    if name in leaves:
        return leaves[name]
    if name not in _CONSTANTS:
        raise Undefined(name)
    return [_CONSTANTS[name](), *[None] * (components - 1)]


def _value(step: Step, nodes: list[Jet]) -> Ball:
    """The value alone."""
    a = _number(nodes[step.left][0])
    if step.rule is not None:
        return step.rule(a, 0)[0]
    return _value_of_two(step.name, a, _number(nodes[step.right][0]))


def _value_of_two(name: str, a: Ball, b: Ball) -> Ball:
    if name == "add":
        return a + b
    if name == "mul":
        return a * b
    if name == "sub":
        return a - b
    if name == "div":
        return a * reciprocal(b, 0)[0]
    exponent = b if name == "pow" else reciprocal(b, 0)[0]
    return (exponent * ln(a, 0)[0]).exp()


def _number(value: Ball | None) -> Ball:
    return ZERO if value is None else value


def binary_jet(name: str, algebra: Algebra, a: Jet, b: Jet) -> Jet:
    """The jet of a sum, a difference, a product, a quotient, a power or a root."""
    if name == "add":
        return [_sum(u, v) for u, v in zip(a, b, strict=True)]
    if name == "sub":
        return [
            (None if v is None else -v) if u is None else u if v is None else u - v for u, v in zip(a, b, strict=True)
        ]
    if name == "mul":
        return multiply(algebra, a, b)
    if name == "div":
        return multiply(algebra, a, compose_jet(algebra, reciprocal, b))
    exponent = b if name == "pow" else compose_jet(algebra, reciprocal, b)
    return compose_jet(algebra, exp, multiply(algebra, exponent, compose_jet(algebra, ln, a)))


_CONSTANTS: dict[str, Callable[[], Ball]] = {
    "pi": acb.pi,
    "E": lambda: acb(arb.const_e()),
    "I": lambda: acb(0, 1),
}


def multiply(algebra: Algebra, a: Jet, b: Jet) -> Jet:
    """The truncated product; an exact zero times anything finite is zero."""
    if len(a) == 2:
        (u, u1), (v, v1) = a, b
        left, right = _product(u, v1), _product(u1, v)
        return [_product(u, v), right if left is None else left if right is None else left + right]
    out: Jet = [_product(a[0], b[0])]
    for k in range(1, len(a)):
        out.append(_sum(_product(a[0], b[k]), _product(a[k], b[0])))
    for i, j, k in algebra.products:
        out[k] = _sum(out[k], _product(a[i], b[j]))
    return out


def _product(u: Ball | None, v: Ball | None) -> Ball | None:
    return None if u is None or v is None else u * v


def _sum(u: Ball | None, v: Ball | None) -> Ball | None:
    return v if u is None else u if v is None else u + v


def compose_jet(algebra: Algebra, rule: Rule, u: Jet) -> Jet:
    """f(u) from f, f' and f''/2 at the constant part of u, as many as u depends on increments."""
    value = ZERO if u[0] is None else u[0]
    order = 0
    for c in u[1:]:
        if c is not None:
            order = algebra.order
            break
    taylor = rule(value, order)
    out: Jet = [taylor[0], *(None if c is None else taylor[1] * c for c in u[1:])]
    if order > 1:
        for i, j, k in algebra.products:
            square = _product(u[i], u[j])
            if square is not None:
                out[k] = _sum(out[k], taylor[2] * square)
    return out


def rational(tree: Tree) -> fmpq | None:
    """The value of a tree of integers and arithmetic, None for other trees."""
    if isinstance(tree, int):
        return fmpq(tree)
    if len(tree) < 2:
        return None
    name = TOKENS[tree[0]]
    a, b = rational(tree[1]), rational(tree[-1])
    if a is None or b is None or name not in ("add", "sub", "mul", "div", "inv"):
        return None
    if name in ("div", "inv"):
        if b == 0:
            raise Undefined("division by zero")
        return fmpq(1) / b if name == "inv" else a / b
    return a + b if name == "add" else a - b if name == "sub" else a * b
