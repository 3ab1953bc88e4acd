"""Numerical verification of antiderivatives: F' from Taylor rules against f at real and complex points of several regions.

Two values agree if they differ by at most 1e-9 of the larger. Generation accepts a pair only if both sides are finite at 8 points
or more, agree wherever f has a value, and F is not constant. A prediction is compared wherever f is defined; where only the
prediction is undefined, it is wrong. Small differences are rechecked with 40 digits. If f has too few values,
SymPy decides in bounded time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.outcomes import SYMBOLIC_OUTCOMES, Verification
from mathpipe.generate.symbolic.check.sympy_fallback import shared_sympy_process
from mathpipe.generate.symbolic.numeric.array_programs import compile_expressions
from mathpipe.generate.symbolic.numeric.points import IS_REAL, POINTS, has_enough_points
from mathpipe.generate.symbolic.numeric.taylor import FIRST_DERIVATIVES, VALUES, Complex, evaluate

Mask = NDArray[np.bool_]

TOLERANCE = 1e-9
RECHECK_BELOW = 1e-3  # a difference below this may be a rounding error and is rechecked
TINY, HUGE = 1e-200, 1e200
PREFIX = bytes([IDS["sub"], IDS["Y'"]])
"""Problems have the form ``sub Y' f``."""
_CHUNK = 256
_ALLOWED = np.zeros(256, dtype=bool)  # tokens a prediction may use: x is the only variable
_ALLOWED[
    [k for name, k in IDS.items() if name not in {"y", "z", "t", "Y", "Y'", "Y''", *(f"a{k}" for k in range(10))}]
] = True
_NOT_ANALYTIC = (IDS["abs"], IDS["sign"])
(EXACT, EQUIVALENT, PARTIAL, WRONG_VALUE, MALFORMED, UNDECIDED) = (
    SYMBOLIC_OUTCOMES.index(name)
    for name in ("exact", "equivalent", "partial", "wrong_value", "malformed", "undecided")
)


def integrands(problems: Sequences) -> Sequences:
    """f of each ``sub Y' f``; empty, hence malformed, if a problem has another form."""
    starts = problems.offsets[:-1]
    long = problems.lengths > len(PREFIX)
    first = np.minimum(starts, max(len(problems.values) - 2, 0))
    has_prefix = (
        long & (problems.values[first] == PREFIX[0]) & (problems.values[first + 1] == PREFIX[1])
        if len(problems)
        else long
    )
    lengths = np.where(has_prefix, problems.lengths - len(PREFIX), 0)
    within = np.arange(len(problems.values)) - np.repeat(starts, problems.lengths)
    in_integrand = np.repeat(has_prefix, problems.lengths) & (within >= len(PREFIX))
    return Sequences(problems.values[in_integrand], lengths)


@dataclass(frozen=True)
class Comparison:
    """f (n, K), F' (n, K) and F (n, K) at the fixed points, NaN where malformed."""

    integrand: Complex
    derivative: Complex
    primitive: Complex
    well_formed: Mask

    def both_finite(self) -> Mask:
        return _usable(self.integrand) & _usable(self.derivative)

    def relative_error(self) -> NDArray[np.float64]:
        """|F' - f| relative to the larger; infinite where only F' is undefined."""
        with np.errstate(all="ignore"):
            absolute = np.abs(self.derivative - self.integrand)
            size = np.maximum(np.abs(self.integrand), np.abs(self.derivative))
            relative = np.where(absolute == 0, 0.0, absolute / size)
        return np.where(np.isfinite(relative), relative, np.inf)


def compare(f: Sequences, primitives: Sequences) -> Comparison:
    """Evaluate both sides at every point, a few hundred rows at a time."""
    parts = [
        _compare(f.take(np.arange(a, min(a + _CHUNK, len(f)))), primitives.take(np.arange(a, min(a + _CHUNK, len(f)))))
        for a in range(0, len(f), _CHUNK)
    ]
    if not parts:
        empty = np.empty((0, len(POINTS)), dtype=np.complex128)
        return Comparison(empty, empty, empty, np.empty(0, dtype=bool))
    return Comparison(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("integrand", "derivative", "primitive", "well_formed")
        )
    )


def _compare(f: Sequences, primitives: Sequences) -> Comparison:
    x = np.stack([POINTS, np.ones(len(POINTS))])
    left, right = compile_expressions(f), compile_expressions(primitives)
    integrand = evaluate(left, VALUES, {"x": x[:1]}, len(POINTS))[0]
    primitive, derivative = evaluate(right, FIRST_DERIVATIVES, {"x": x}, len(POINTS))
    return Comparison(integrand, derivative, primitive, right.well_formed & left.well_formed)


def is_antiderivative(f: Sequences, primitives: Sequences) -> tuple[Mask, dict[str, Mask]]:
    """(which pairs are certainly right (n,), for each reason which pairs it rejects)."""
    comparison = compare(f, primitives)
    usable = comparison.both_finite()
    decided = has_enough_points(usable)
    agree = ((comparison.relative_error() <= TOLERANCE) | ~_usable(comparison.integrand)).all(axis=1)
    constant = ~_varies(comparison.primitive, usable)
    right = decided & agree & ~constant
    return right, {
        "too few test points": ~decided,
        "does not hold everywhere": decided & ~agree,
        "constant": decided & agree & constant,
    }


def _varies(value: Complex, usable: Mask) -> Mask:
    """Which rows take different values at their usable points, beyond rounding errors."""
    first = np.take_along_axis(value, usable.argmax(axis=1)[:, None], axis=1)
    with np.errstate(all="ignore"):
        spread = np.where(usable, np.abs(value - first), 0.0).max(axis=1, initial=0.0)
        size = np.where(usable, np.abs(value), 0.0).max(axis=1, initial=0.0)
    return np.asarray(spread > 1e-9 * size)


def verify_antiderivatives(problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
    """The outcome of each predicted primitive, and the fraction of points at which it holds."""
    f = integrands(problems)
    comparison = compare(f, predicted)
    n = len(f)
    tokens_allowed = (
        np.bincount(np.repeat(np.arange(n), predicted.lengths)[~_ALLOWED[predicted.values]], minlength=n) == 0
    )
    not_analytic = np.isin(predicted.values, _NOT_ANALYTIC) if len(predicted.values) else np.zeros(0, dtype=bool)
    has_abs = np.bincount(np.repeat(np.arange(n), predicted.lengths)[not_analytic], minlength=n) > 0
    defined = _usable(comparison.integrand) & (IS_REAL | ~has_abs[:, None])
    relative_error = np.where(defined, comparison.relative_error(), 0.0)
    agree = defined & (relative_error <= TOLERANCE)
    recheck = comparison.well_formed & tokens_allowed & (defined & ~agree).any(axis=1)
    recheck &= (defined & ~agree & (relative_error < RECHECK_BELOW)).any(axis=1) | agree.any(axis=1)
    for i in np.flatnonzero(recheck).tolist():
        _recheck_in_high_precision(f[i], predicted[i], defined[i], agree[i], relative_error[i])
    satisfied_fraction = agree.sum(axis=1) / np.maximum(defined.sum(axis=1), 1)
    same_tokens = references.equals(predicted)
    outcome = np.select(
        [
            ~(comparison.well_formed & tokens_allowed),
            ~has_enough_points(defined),
            (agree | ~defined).all(axis=1) & same_tokens,
            (agree | ~defined).all(axis=1),
            agree.any(axis=1),
        ],
        [MALFORMED, UNDECIDED, EXACT, EQUIVALENT, PARTIAL],
        default=WRONG_VALUE,
    ).astype(np.int8)
    for i in np.flatnonzero(outcome == UNDECIDED).tolist():
        outcome[i] = _sympy_outcome(f[i], predicted[i], exact=bool(same_tokens[i]))
    return Verification(outcome, {"satisfied_fraction": np.where(outcome == MALFORMED, np.nan, satisfied_fraction)})


def _sympy_outcome(f: bytes, predicted: bytes, *, exact: bool) -> int:
    answer = shared_sympy_process().is_antiderivative(f, predicted)
    return EXACT if exact and answer == "equivalent" else SYMBOLIC_OUTCOMES.index(answer)


def _recheck_in_high_precision(
    f: bytes, predicted: bytes, defined: Mask, agree: Mask, relative_error: NDArray[np.float64]
) -> None:
    """Decide with 40 digits where 16 were not enough; updates ``defined`` and ``agree`` in place.

    The largest error comes first: once it is confirmed, other large errors are accepted and only small ones rechecked.
    """
    from mathpipe.generate.symbolic.numeric.high_precision import derivative_error  # imports mpmath; rarely needed

    error_confirmed = False
    disagreeing = np.flatnonzero(defined & ~agree)
    for k in disagreeing[np.argsort(-relative_error[disagreeing], kind="stable")]:
        if error_confirmed and relative_error[k] >= RECHECK_BELOW:
            continue
        precise_error = derivative_error(f, predicted, complex(POINTS[k]))
        if precise_error is None:
            defined[k] = False
        elif precise_error <= TOLERANCE:
            agree[k] = True
        else:
            error_confirmed = True


def _usable(values: Complex) -> Mask:
    with np.errstate(all="ignore"):
        size = np.abs(values)
        return np.asarray(np.isfinite(values) & (size > TINY) & (size < HUGE))
