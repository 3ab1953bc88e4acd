"""Exact proofs: F' - f, or an equation with its solution substituted, is the zero polynomial of its kernels."""

from __future__ import annotations

from collections.abc import Callable

from flint import fmpq

from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.generate.symbolic.check.exact.kernel_ring import (
    FEW_KERNELS,
    MAX_KERNELS,
    MAX_RESTARTS,
    NotProven,
    Polynomial,
    Restart,
    TooManyKernels,
)
from mathpipe.generate.symbolic.check.exact.kernels import Kernels
from mathpipe.generate.symbolic.check.exact.reciprocals import Condition


def prove_antiderivative(f: Tree, primitive: Tree) -> Condition | None:
    """What is left to check about F' = f if it is an identity (see ``Condition``); None if that is not known."""

    def residual(kernels: Kernels) -> Polynomial:
        value = kernels.value(f, {})
        kernels.condition = Condition.NONE  # F' is asked for where f is defined: what f divides by is not zero there
        return kernels.derivative(kernels.value(primitive, {})) - value

    return _prove(residual)


def prove_solution(
    equation: Tree, solution: Tree, unknowns: tuple[str, ...], constants: tuple[str, ...]
) -> Condition | None:
    """The same for F(x, y, y'[, y'']) = 0 and y(x, c1[, c2])."""

    def residual(kernels: Kernels) -> Polynomial:
        y = kernels.value(solution, {name: kernels.constant(name) for name in constants})
        values = [y]
        while len(values) < len(unknowns):
            values.append(kernels.derivative(values[-1]))
        kernels.forget_values()
        return kernels.value(equation, dict(zip(unknowns, values, strict=True)))

    return _prove(residual)


def _prove(residual: Callable[[Kernels], Polynomial]) -> Condition | None:
    units: dict[str, fmpq] = {}
    size = FEW_KERNELS
    for _ in range(MAX_RESTARTS):
        kernels = Kernels(units, size)
        try:
            return kernels.condition if kernels.is_zero(residual(kernels)) else None
        except Restart:
            continue
        except TooManyKernels:
            if size == MAX_KERNELS:
                return None
            size = MAX_KERNELS
        except (NotProven, OverflowError, ZeroDivisionError):
            return None
    return None
