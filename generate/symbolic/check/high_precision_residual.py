"""The residual of a solution at one point with 40 digits: difference quotients of values with 80 digits, step 10^-20."""

from __future__ import annotations

from typing import Any

import mpmath

from mathpipe.datasets.expressions.prefix import Malformed
from mathpipe.generate.symbolic.check.solution_points import OdeOrder
from mathpipe.generate.symbolic.numeric.high_precision import OutOfRange, value_at

DIGITS = 80
_STEP_DIGITS = 20


def residual(order: OdeOrder, equation: bytes, solution: bytes, x: complex, constants: list[complex]) -> float | None:
    """|F(x, y, y'[, y''])|; None if y or F is undefined."""
    with mpmath.workdps(DIGITS):
        h = mpmath.mpf(10) ** -_STEP_DIGITS
        constant_values = {name: mpmath.mpc(c) for name, c in zip(order.constants, constants, strict=True)}
        point = mpmath.mpc(x)

        def y(t: Any) -> Any:
            return value_at(solution, {**constant_values, "x": t})

        try:
            before, here, after = y(point - h), y(point), y(point + h)
            values = (here, (after - before) / (2 * h), (after - 2 * here + before) / h**2)
            unknowns = dict(zip(order.unknowns, values, strict=False))
            return float(abs(value_at(equation, {"x": point, **unknowns})))
        except (OutOfRange, ArithmeticError, ValueError, Malformed):
            return None
