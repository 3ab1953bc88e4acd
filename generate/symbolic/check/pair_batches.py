"""Many integrands and predicted primitives at once: parts that several of them share are evaluated once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.generate.symbolic.check.exact.expanded_identity import expand_identities
from mathpipe.generate.symbolic.check.exact.reciprocals import Condition
from mathpipe.generate.symbolic.check.integral_pair import IntegralPair
from mathpipe.generate.symbolic.check.point_checks import PRECISIONS, is_real, point
from mathpipe.generate.symbolic.check.real_evaluation import have_values, primitive_fails
from mathpipe.generate.symbolic.numeric.array_programs import Ints, Program, compile_expressions
from mathpipe.generate.symbolic.numeric.ball_batches import evaluate as evaluate_balls
from mathpipe.generate.symbolic.numeric.ball_functions import ZERO
from mathpipe.generate.symbolic.numeric.balls import Jet, precision
from mathpipe.generate.symbolic.numeric.common_subexpressions import eliminate_common_subexpressions
from mathpipe.generate.symbolic.numeric.taylor import FIRST_DERIVATIVES, VALUES, Complex, evaluate

Mask = NDArray[np.bool_]

TINY, HUGE = 1e-200, 1e200
_ROWS, _TOKENS = 1024, 200_000  # the most pairs and tokens of a batch, but at least one pair


@dataclass(frozen=True)
class Comparison:
    """f (n, K), F' (n, K) and F (n, K) at the fixed points, NaN where malformed."""

    integrand: Complex
    derivative: Complex
    primitive: Complex
    well_formed: Mask

    def both_finite(self) -> Mask:
        return can_be_compared(self.integrand) & can_be_compared(self.derivative)

    def relative_error(self) -> NDArray[np.float64]:
        """|F' - f| relative to the larger; infinite where only F' is undefined."""
        with np.errstate(all="ignore"):
            absolute = np.abs(self.derivative - self.integrand)
            size = np.maximum(np.abs(self.integrand), np.abs(self.derivative))
            relative = np.where(absolute == 0, 0.0, absolute / size)
        return np.where(np.isfinite(relative), relative, np.inf)


def can_be_compared(values: Complex) -> Mask:
    """Which values are finite and of a size that double precision can compare."""
    with np.errstate(all="ignore"):
        size = np.abs(values)
        return np.asarray(np.isfinite(values) & (size > TINY) & (size < HUGE))


class PairBatch:
    """n pairs (f, F). Rows that a method is not asked for are False in its mask (n,)."""

    def __init__(self, f: Sequences, primitives: Sequences) -> None:
        self.f, self.primitives = f, primitives
        self._sequences = Sequences.concatenate([f, primitives])
        self._program = compile_expressions(self._sequences)
        left, right = self._program.well_formed.reshape(2, -1)
        self.well_formed: Mask = left & right

    def __len__(self) -> int:
        return len(self.f)

    def mask(self, rows: Ints) -> Mask:
        """(n,): whether a row is one of these."""
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[rows] = True
        return mask

    def pair(self, i: int) -> IntegralPair:
        """Pair i alone."""
        return IntegralPair(self.f[i], self.primitives[i])

    def _shared(self, group: Ints) -> tuple[Program, Program]:
        """The programs of n integrands and of n primitives, those of each group (n,) sharing nodes, -1 for none."""
        none = np.full(len(self), -1, dtype=np.int64)
        integrands = eliminate_common_subexpressions(self._program, np.concatenate([group, none]))
        primitives = eliminate_common_subexpressions(self._program, np.concatenate([none, group]))
        return self._half(integrands, slice(0, len(self))), self._half(primitives, slice(len(self), None))

    @staticmethod
    def _half(program: Program, rows: slice) -> Program:
        return replace(program, root=program.root[rows], well_formed=program.well_formed[rows])

    def compare(self, points: Complex, rows: Ints) -> Comparison:
        """f, F' and F at these points, NaN for other rows than these and where malformed."""
        x = np.stack([points, np.ones(len(points))])
        f, primitives = self._shared(self._group(rows))
        integrand = evaluate(f, VALUES, {"x": x[:1]}, len(points))[0]
        primitive, derivative = evaluate(primitives, FIRST_DERIVATIVES, {"x": x}, len(points))
        return Comparison(integrand, derivative, primitive, self.well_formed)

    def _group(self, rows: Ints) -> Ints:
        """One group of these rows."""
        return np.where(self.mask(rows), 0, -1)

    def fail_at(self, points: NDArray[np.float64], rows: Ints) -> Mask:
        """Which of these rows are proven to fail at their point (n,), where f and F are real."""
        if not len(rows):
            return self.mask(rows)
        distinct, group = np.unique(points[rows], return_inverse=True)
        groups = np.full(len(self), -1, dtype=np.int64)
        groups[rows] = group
        return primitive_fails(*self._shared(groups), distinct)

    def differ_at(self, points: Complex, rows: Ints, *, where_real: bool) -> Mask:
        """Which of these rows are proven to differ, F' from f, at their point (n,), by balls of few digits.

        ``where_real``: only where f and F are real.
        """
        if not len(rows):
            return self.mask(rows)
        distinct, group = np.unique(points[rows], return_inverse=True)
        groups = np.full(len(self), -1, dtype=np.int64)
        groups[rows] = group
        f, primitives = self._shared(groups)
        tokens = self._sequences.values.tobytes()
        with precision(PRECISIONS[0]):
            x = [point(z) for z in distinct.tolist()]
            integrand = evaluate_balls(f, tokens, VALUES, x)
            primitive = evaluate_balls(primitives, tokens, FIRST_DERIVATIVES, x)
            return self.mask(rows[[_differ(integrand[i], primitive[i], where_real) for i in rows]])

    def have_values(self, rows: Ints) -> Mask:
        """For which of these rows f, F and F' certainly have a value at one real point."""
        return have_values(*self._shared(self._group(rows))) if len(rows) else self.mask(rows)

    def expand(self, rows: Ints) -> list[Condition | None]:
        """What is left to check about these well-formed rows if expansion proves them, None for the others."""
        return expand_identities(self._sequences, self._program, rows)


def _differ(f: Jet | None, primitive: Jet | None, where_real: bool) -> bool:
    """Whether F' and f certainly differ; ``primitive``: F and F'."""
    if f is None or primitive is None or (where_real and not (is_real(f[0]) and is_real(primitive[0]))):
        return False
    terms = [ball for ball in (primitive[1], None if f[0] is None else -f[0]) if ball is not None]
    residual = sum(terms[1:], terms[0]) if terms else ZERO
    return bool(residual.is_finite() and not residual.contains(0))


def batches(f: Sequences, primitives: Sequences) -> Iterator[tuple[slice, PairBatch]]:
    """(rows, their pairs)."""
    tokens = np.cumsum(f.lengths + primitives.lengths)
    first = 0
    while first < len(f):
        limit = (tokens[first - 1] if first else 0) + _TOKENS
        end = min(max(int(np.searchsorted(tokens, limit, side="right")), first + 1), first + _ROWS, len(f))
        rows = np.arange(first, end)
        yield slice(first, end), PairBatch(f.take(rows), primitives.take(rows))
        first = end
