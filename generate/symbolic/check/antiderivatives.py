"""Is F an antiderivative of f? Quick looks that may reject, exact identities, and balls between all critical points.

Generation asks ``is_antiderivative``: double precision at 16 points, with pairs that are right by construction.
A prediction is wrong if a ball of F' - f excludes 0. It is right if F' - f = 0 is proven (``exact_identity``), or if it is enclosed
at points on every interval between critical points and at points that the texts of the pair choose (``point_checks``). Double
precision only sorts out predictions to reject. Where f has too few values, SymPy decides, in bounded time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.outcomes import EVIDENCE_COUNTS, NONE, PROVEN, Verification
from mathpipe.generate.symbolic.check.exact.reciprocals import Condition
from mathpipe.generate.symbolic.check.integral_pair import (
    EQUIVALENT,
    EXACT,
    MALFORMED,
    REAL_DOMAIN,
    WRONG_VALUE,
)
from mathpipe.generate.symbolic.check.jumps import count_jumps
from mathpipe.generate.symbolic.check.pair_batches import Comparison, Mask, PairBatch, batches, can_be_compared
from mathpipe.generate.symbolic.check.singular_points import critical_points_of_each
from mathpipe.generate.symbolic.numeric.array_programs import Ints, Program, compile_expressions
from mathpipe.generate.symbolic.numeric.points import IS_REAL, POINTS, WIDE, has_enough_points
from mathpipe.generate.symbolic.numeric.taylor import FIRST_DERIVATIVES, VALUES, Complex, evaluate

TOLERANCE = 1e-9
RECHECK_BELOW = 1e-3  # a difference below this may be a rounding error
PREFIX = bytes([IDS["sub"], IDS["Y'"]])
"""Problems have the form ``sub Y' f``."""
_CHUNK = 512  # rows evaluated together
_ALLOWED = np.zeros(256, dtype=bool)  # tokens a prediction may use: x is the only variable
_ALLOWED[
    [k for name, k in IDS.items() if name not in {"y", "z", "t", "Y", "Y'", "Y''", *(f"a{k}" for k in range(10))}]
] = True
_DISGUISE = bytes([IDS["exp"], IDS["ln"]])  # e^(ln x) - x is a zero that rounding errors hide


def integrands(problems: Sequences) -> Sequences:
    """f of each ``sub Y' f``; empty, hence malformed, if a problem has another form."""
    starts = problems.offsets[:-1]
    long = problems.lengths > len(PREFIX)
    first = np.minimum(starts, max(len(problems.values) - 2, 0))
    has_prefix = (
        long & (problems.values[first] == PREFIX[0]) & (problems.values[first + 1] == PREFIX[1])
        if len(problems.values) > len(PREFIX)
        else long
    )
    lengths = np.where(has_prefix, problems.lengths - len(PREFIX), 0)
    within = np.arange(len(problems.values)) - np.repeat(starts, problems.lengths)
    in_integrand = np.repeat(has_prefix, problems.lengths) & (within >= len(PREFIX))
    return Sequences(problems.values[in_integrand], lengths)


def compare(f: Sequences, primitives: Sequences) -> Comparison:
    """Evaluate both sides at every point, a few hundred rows at a time."""
    parts = [_compare(*programs) for programs in _programs(f, primitives)]
    if not parts:
        empty = np.empty((0, len(POINTS)), dtype=np.complex128)
        return Comparison(empty, empty, empty, np.empty(0, dtype=bool))
    return Comparison(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("integrand", "derivative", "primitive", "well_formed")
        )
    )


def _programs(f: Sequences, primitives: Sequences) -> Iterator[tuple[Program, Program]]:
    for first in range(0, len(f), _CHUNK):
        rows = np.arange(first, min(first + _CHUNK, len(f)))
        yield compile_expressions(f.take(rows)), compile_expressions(primitives.take(rows))


def _compare(left: Program, right: Program, points: Complex = POINTS) -> Comparison:
    x = np.stack([points, np.ones(len(points))])
    integrand = evaluate(left, VALUES, {"x": x[:1]}, len(points))[0]
    primitive, derivative = evaluate(right, FIRST_DERIVATIVES, {"x": x}, len(points))
    return Comparison(integrand, derivative, primitive, right.well_formed & left.well_formed)


def is_antiderivative(f: Sequences, primitives: Sequences) -> tuple[Mask, dict[str, Mask]]:
    """(which pairs are certainly right (n,), for each reason which pairs it rejects)."""
    comparison = compare(f, primitives)
    usable = comparison.both_finite()
    decided = has_enough_points(usable)
    agree = ((comparison.relative_error() <= TOLERANCE) | ~can_be_compared(comparison.integrand)).all(axis=1)
    constant = ~_varies(comparison.primitive, usable)
    right = decided & agree & ~constant
    in_disguise = np.array([_DISGUISE in primitives[i] for i in range(len(primitives))], dtype=np.bool_)
    disguised = np.flatnonzero(right & in_disguise)
    agree &= ~_at(disguised[~holds(f.take(disguised), primitives.take(disguised))], len(f))
    right &= agree
    return right, {
        "too few test points": ~decided,
        "does not hold everywhere": decided & ~agree,
        "constant": decided & agree & constant,
    }


def _at(rows: NDArray[np.int64], n: int) -> Mask:
    mask = np.zeros(n, dtype=np.bool_)
    mask[rows] = True
    return mask


def _varies(value: Complex, usable: Mask) -> Mask:
    """Which rows take different values at their usable points, beyond rounding errors."""
    first = np.take_along_axis(value, usable.argmax(axis=1)[:, None], axis=1)
    with np.errstate(all="ignore"):
        spread = np.where(usable, np.abs(value - first), 0.0).max(axis=1, initial=0.0)
        size = np.where(usable, np.abs(value), 0.0).max(axis=1, initial=0.0)
    return np.asarray(spread > 1e-9 * size)


@dataclass(frozen=True)
class _Evidence:
    """What becomes of n predictions: outcome (n,), evidence (n,), satisfied fraction (n,), counts (n,) each."""

    outcome: NDArray[np.int8]
    evidence: NDArray[np.int8]
    satisfied_fraction: NDArray[np.float64]
    counts: dict[str, NDArray[np.float64]]

    @classmethod
    def of_wrong_answers(cls, well_formed: Mask) -> _Evidence:
        """What is true of an answer that is proven to be wrong, or malformed."""
        return cls(
            np.where(well_formed, WRONG_VALUE, MALFORMED).astype(np.int8),
            np.where(well_formed, PROVEN, NONE).astype(np.int8),
            np.where(well_formed, 0.0, np.nan),
            {name: np.full(len(well_formed), np.nan) for name in EVIDENCE_COUNTS},
        )

    def set_proven(self, rows: Ints) -> None:
        """Answers that are proven to be right, at every point."""
        self.outcome[rows], self.satisfied_fraction[rows] = EQUIVALENT, 1.0


def verify_antiderivatives(problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
    """The outcome of each predicted primitive, its evidence, and the fraction of points at which it holds."""
    f = integrands(problems)
    parts = [
        _verify(batch, _tokens_allowed(predicted.take(np.arange(*rows.indices(len(f))))))
        for rows, batch in batches(f, predicted)
    ] or [_Evidence.of_wrong_answers(np.zeros(0, dtype=np.bool_))]
    outcome, evidence, satisfied_fraction = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("outcome", "evidence", "satisfied_fraction")
    )
    counts = {name: np.concatenate([part.counts[name] for part in parts]) for name in EVIDENCE_COUNTS}
    outcome[references.equals(predicted) & (outcome == EQUIVALENT)] = EXACT
    return Verification(outcome, {"satisfied_fraction": satisfied_fraction}, evidence, counts)


def _verify(batch: PairBatch, allowed: Mask) -> _Evidence:
    """Quick looks for all pairs, proofs for those that agree, and balls for what remains."""
    well_formed = batch.well_formed & allowed
    result = _Evidence.of_wrong_answers(well_formed)
    comparison = batch.compare(POINTS, np.arange(len(batch)))
    with np.errstate(all="ignore"):
        finite = np.isfinite(comparison.integrand) & np.isfinite(comparison.derivative)
        error = np.where(finite, comparison.relative_error(), np.nan)
        agrees = np.asarray(~(error > RECHECK_BELOW).any(axis=1))
    witness = _witness_of_failure(comparison, error)
    fails = batch.fail_at(POINTS.real[witness], np.flatnonzero(well_formed & (witness >= 0)))
    fails |= _fail_elsewhere(batch, error, witness, np.flatnonzero(well_formed & ~fails))
    candidates = np.flatnonzero(well_formed & ~fails & agrees)
    proven = _prove(batch, candidates)
    result.set_proven(np.flatnonzero(proven))
    _examine(batch, np.flatnonzero(well_formed & ~fails & ~proven), agrees, result)
    _count_jumps(batch, np.flatnonzero((result.outcome == EQUIVALENT) | (result.outcome == REAL_DOMAIN)), result)
    return result


def _fail_elsewhere(batch: PairBatch, error: NDArray[np.float64], witness: Ints, rows: Ints) -> Mask:
    """Which of these rows are proven to fail by balls of more digits: at their witness, or where they agree at no point."""
    with_witness = rows[witness[rows] >= 0]
    fails = batch.differ_at(POINTS[witness], with_witness, where_real=True)
    for i in with_witness[~fails[with_witness]].tolist():
        fails[i] = batch.pair(i).fails_at(complex(POINTS[witness[i]]))
    differing = np.flatnonzero(_differ_at_all_points(batch, rows[(witness[rows] < 0) & _differ(error)[rows]]))
    last = len(POINTS) - 1 - np.isfinite(error)[:, ::-1].argmax(axis=1)  # off the axis
    fails |= batch.differ_at(POINTS[last], differing, where_real=False)
    for i in differing[~fails[differing]].tolist():
        fails[i] = batch.pair(i).differs_at(complex(POINTS[last[i]]))
    return fails


def _differ(error: NDArray[np.float64]) -> Mask:
    """Which rows agree at no point, and have enough points."""
    with np.errstate(invalid="ignore"):
        return np.asarray(has_enough_points(np.isfinite(error)) & ~(error <= RECHECK_BELOW).any(axis=1))


def _differ_at_all_points(batch: PairBatch, rows: Ints) -> Mask:
    """Which of these rows agree at no point of a wide range, as far as double precision tells; False for the others."""
    if not len(rows):
        return batch.mask(rows)
    comparison = batch.compare(WIDE, rows)
    with np.errstate(all="ignore"):
        finite = np.isfinite(comparison.integrand) & np.isfinite(comparison.derivative)
        agrees = finite & (comparison.relative_error() <= RECHECK_BELOW)
    return batch.mask(rows) & ~agrees.any(axis=1)


def _prove(batch: PairBatch, rows: Ints) -> Mask:
    """Which of these well-formed rows are proven by exact identities."""
    proven = _expand(batch, rows)
    for i in rows[~proven[rows]].tolist():
        proven[i] = batch.pair(i).is_proven_by_kernels()
    return proven


def _expand(batch: PairBatch, rows: Ints) -> Mask:
    """Which of these well-formed rows are proven by expansion alone, where f has a value; False for the others."""
    conditions = batch.expand(rows)
    proven = batch.mask(rows[[condition is Condition.NONE for condition in conditions]])
    for i, condition in zip(rows.tolist(), conditions, strict=True):
        if condition is Condition.ONE_POINT:
            proven[i] = batch.pair(i).has_value()
    return proven


def _examine(batch: PairBatch, rows: Ints, agrees: Mask, result: _Evidence) -> None:
    """Outcome and evidence of rows that are neither proven to be right nor quickly found to be wrong, by balls at points."""
    pairs = [batch.pair(i) for i in rows.tolist()]
    for pair, critical in zip(pairs, critical_points_of_each([pair.trees for pair in pairs]), strict=True):
        pair.set_critical_points(critical)
    for i, pair in zip(rows.tolist(), pairs, strict=True):
        verification = pair.verify(disagrees=not agrees[i])
        result.outcome[i], result.evidence[i] = verification.outcome, verification.evidence
        result.satisfied_fraction[i] = verification.satisfied_fraction
        for name, value in verification.counts.items():
            result.counts[name][i] = value


def _count_jumps(batch: PairBatch, rows: Ints, result: _Evidence) -> None:
    """The jumps of right answers where f is bounded."""
    result.counts["jumps"][rows] = count_jumps([batch.f[i] for i in rows], [batch.primitives[i] for i in rows])


def holds(f: Sequences, primitives: Sequences) -> Mask:
    """Which well-formed pairs (n,) would be right as predictions, without SymPy."""
    parts = [np.zeros(0, dtype=np.bool_)]
    for _, batch in batches(f, primitives):
        right = _expand_where_defined(batch)
        for i in np.flatnonzero(~right).tolist():
            right[i] = batch.pair(i).holds()
        parts.append(right)
    return np.concatenate(parts)


def check_large_arguments(problems: Sequences, solutions: Sequences, right: Mask, rejected: Counter[str]) -> Mask:
    """Which pairs that are ``right`` so far hold everywhere; the others are counted.

    asin(cos x) has the derivative of -|x| until pi, and cosh(x + 5) is hard to distinguish from e^(x + 5) / 2 for positive x. Pairs
    found by their values are kept if their outcome as predictions is right; nothing timed decides.
    """
    index = np.flatnonzero(right)
    agree = holds(integrands(problems.take(index)), solutions.take(index))
    if not agree.all():
        rejected["fails at large arguments"] += int((~agree).sum())
    confirmed = np.zeros(len(right), dtype=np.bool_)
    confirmed[index[agree]] = True
    return confirmed


def expand_to_zero(f: Sequences, primitives: Sequences) -> Mask:
    """Which well-formed pairs (n,) are proven by expansion alone (``expanded_identity``), f having a value somewhere."""
    parts = [_expand_where_defined(batch) for _, batch in batches(f, primitives)]
    return np.concatenate([np.zeros(0, dtype=np.bool_), *parts])


def _expand_where_defined(batch: PairBatch) -> Mask:
    rows = np.flatnonzero(batch.have_values(np.arange(len(batch))))
    return batch.mask(rows[[condition is not None for condition in batch.expand(rows)]])


def prove_antiderivatives(problems: Sequences, primitives: Sequences) -> Mask:
    """Which pairs (n,) are proven to be right; never a malformed one."""
    allowed, parts = _tokens_allowed(primitives), [np.zeros(0, dtype=np.bool_)]
    for rows, batch in batches(integrands(problems), primitives):
        parts.append(_prove(batch, np.flatnonzero(allowed[rows] & batch.well_formed)))
    return np.concatenate(parts)


def _tokens_allowed(predicted: Sequences) -> Mask:
    owner = np.repeat(np.arange(len(predicted)), predicted.lengths)
    return np.asarray(np.bincount(owner[~_ALLOWED[predicted.values]], minlength=len(predicted)) == 0)


def _witness_of_failure(comparison: Comparison, error: NDArray[np.float64]) -> NDArray[np.int64]:
    """For rows that agree at no point, a real point where real f and F' differ; -1 for the others."""
    with np.errstate(all="ignore"):
        real = IS_REAL & _is_real(comparison.integrand) & _is_real(comparison.primitive)
        fails = real & (error > RECHECK_BELOW)
    agrees = (error <= RECHECK_BELOW).any(axis=1)
    return np.where(agrees | ~fails.any(axis=1), -1, fails.argmax(axis=1))


def _is_real(values: Complex) -> Mask:
    with np.errstate(all="ignore"):
        return np.asarray(np.isfinite(values) & (np.abs(values.imag) <= 1e-12 * np.abs(values.real)))
