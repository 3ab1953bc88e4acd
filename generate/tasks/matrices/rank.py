"""Rank: A = B C (m x n) with B (m x r) and C (r x n) of small integers -> r (1 x 1), r uniform in 0..min(m, n).

Entries of the factors are integers uniform in -k..k, k = min(floor c, floor sqrt(999 / min(m, n))), so that A's are integers
below 1000: exactly on the grid, and the rank is exact. If the product has a smaller rank, both factors are sampled again for the
same r, so that r stays uniform. All problems of rank 0 and one shape are the same zero matrix: they all belong to one split.

A rank is either correct or wrong: every error of an unequal prediction is at least 1.
"""

from __future__ import annotations

import math

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.random_matrices import sample_bounds, sample_shapes
from mathpipe.generate.tasks.error_measures import Errors
from mathpipe.generate.tasks.matrix_task import Floats, Ints, Mask, MatrixTask, solve_by_shape

_MAX_INTEGER = 999  # largest integer with 3 digits
_MAX_RESAMPLES = 64  # then a smaller rank is accepted (with r = 1 and k = 1 less than once in 1e16)
_CHUNK_ENTRIES = 65_536
_WIDTH = 1_000  # above any number of columns
_PRIMES = (67_108_859.0, 67_108_837.0)  # the two largest below 2^26: products of residues are exact in float64


class Rank(MatrixTask):
    """A -> rank A."""

    name = "rank"
    problem = "A, a product of small-integer factors (m x n)"
    solution = "rank A (1 x 1)"
    source = "Golub and Van Loan 2013, section 2.1 (definition)"

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n products B C of exact rank r."""
        rows, cols = sample_shapes(rng, n, spec)
        smaller = np.minimum(rows, cols)
        ranks = rng.integers(0, smaller, endpoint=True)
        largest = np.minimum(np.floor(sample_bounds(rng, n, spec)), np.floor(np.sqrt(_MAX_INTEGER / smaller))).astype(
            np.int64
        )
        parts, order = [], []
        for r, c in (divmod(shape, _WIDTH) for shape in np.unique(rows * _WIDTH + cols).tolist()):
            index = np.flatnonzero((rows == r) & (cols == c))
            parts.append(Matrices.from_dense(_products(rng, r, c, ranks[index], largest[index])))
            order.append(index)
        if len(parts) == 1:
            return parts[0]
        return Matrices.concatenate(parts).take(np.argsort(np.concatenate(order))) if parts else Matrices.empty()

    def solve(self, problems: Matrices) -> Solved:
        """The exact rank of integer matrices; of others the number of singular values above rounding."""
        return solve_by_shape(problems, _rank)

    def errors(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Errors:
        """0 where H = X; otherwise at least 1, whatever the relative difference."""
        errors = super().errors(problems, references, predicted)
        equal = predicted.values == references.values
        for name in ("error_l1", "error_l2", "error_max"):
            errors[name] = np.where(equal, 0.0, np.maximum(errors[name], 1.0))
        return errors

    def check_problems(self, spec: MatrixSpec) -> None:
        if spec.entries != "uniform":
            raise UserError(
                "rank needs uniform entries",
                expected="--entries uniform",
                got=f"--entries {spec.entries}",
                cause="problems are products of factors with uniform integers up to --max-coeff",
            )
        if spec.max_coeff < 1:
            raise UserError(
                "rank needs integers", expected="--max-coeff 1 or more", got=f"--max-coeff {spec.max_coeff:g}"
            )

    def distinct_problems(self, spec: MatrixSpec) -> float:
        """At most 2 r k^2 + 1 values an entry."""
        rows, cols = spec.largest_shape
        smaller = min(rows, cols)
        largest = min(math.floor(spec.max_coeff), math.floor(math.sqrt(_MAX_INTEGER / smaller)))
        return float(2 * smaller * largest**2 + 1) ** min(rows * cols, 16)

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return np.ones_like(problems.rows), np.ones_like(problems.cols)


def _products(rng: np.random.Generator, m: int, n: int, ranks: Ints, largest: Ints) -> Floats:
    """(k, m, n): products of these ranks (k,), of factors with entries up to ``largest`` (k,)."""
    products = np.zeros((len(ranks), m, n))
    missing, inner = np.flatnonzero(ranks > 0), min(m, n)
    for _ in range(_MAX_RESAMPLES):
        if not len(missing):
            break
        b, c = (_integers(rng, largest[missing], shape) for shape in ((m, inner), (inner, n)))
        b *= np.arange(inner) < ranks[missing, None, None]
        products[missing] = np.matmul(b, c)
        missing = missing[_rank_modulo(products[missing], _PRIMES[0]) != ranks[missing]]  # a lower bound of rank <= r
    return products


def _integers(rng: np.random.Generator, largest: Ints, shape: tuple[int, int]) -> Floats:
    """(k, r, c) integers, uniform in -largest..largest of each matrix."""
    integers = rng.random((len(largest), *shape))
    integers *= (2 * largest + 1)[:, None, None]
    np.floor(integers, out=integers)
    integers -= largest[:, None, None]
    return integers


def _rank(a: Floats) -> tuple[Floats, dict[str, Mask]]:
    integer = ((a == np.rint(a)) & (np.abs(a) < _PRIMES[-1])).all(axis=(1, 2))
    ranks = np.empty(len(a))
    ranks[integer] = _exact_rank(a[integer])
    if not integer.all():
        ranks[~integer] = np.linalg.matrix_rank(a[~integer])
    return ranks[:, None, None], {}


def _exact_rank(a: Floats) -> Ints:
    """Rank of integer matrices (k,): the larger of the ranks modulo two primes.

    A rank modulo p never exceeds the rank, and falls short only where p divides every largest nonzero minor: for both primes
    about once in 4e15 matrices. Full rank modulo one prime is full rank.
    """
    rank = _rank_modulo(a, _PRIMES[0])
    short = np.flatnonzero(rank < min(a.shape[1:]))
    rank[short] = np.maximum(rank[short], _rank_modulo(a[short], _PRIMES[1]))
    return rank


def _rank_modulo(a: Floats, p: float) -> Ints:
    """Rank of integer matrices (k, m, n) modulo p, one tile of the batch at a time, which fits into the cache."""
    if a.shape[1] < a.shape[2]:
        a = a.transpose(0, 2, 1)  # fewer columns need fewer steps
    rank = np.empty(len(a), dtype=np.int64)
    size = max(_CHUNK_ENTRIES // (a.shape[1] * a.shape[2]), 1)
    for start in range(0, len(a), size):
        rank[start : start + size] = _eliminate(np.array(a[start : start + size], order="C"), p)
    return rank


def _eliminate(rest: Floats, p: float) -> Ints:
    """Elimination without division, column by column: row <- pivot * row - entry * pivot row, modulo p."""
    k, m, n = rest.shape
    _reduce(rest, p)
    unused = np.ones((k, m), dtype=np.bool_)
    rank, each = np.zeros(k, dtype=np.int64), np.arange(k)
    for _ in range(n):  # the first column of what is left
        column = rest[:, :, 0]
        possible = (column != 0) & unused
        row = possible.argmax(axis=1)
        has = possible[each, row]
        unused[each, row] &= ~has
        rank += has
        if rest.shape[2] == 1:
            break
        pivot_row = rest[each, row]
        pivot = np.where(has, pivot_row[:, 0], 1.0)
        change = (column * has[:, None])[:, :, None] * pivot_row[:, None, 1:]
        rest = rest[:, :, 1:] * pivot[:, None, None]
        rest -= change
        _reduce(rest, p)
    return rank


def _reduce(x: Floats, p: float) -> None:
    """x modulo p in place, to |x| <= p / 2 (about): exact for integers |x| < 2^53, and 0 exactly where p divides x."""
    quotient = x * (1 / p)
    np.rint(quotient, out=quotient)
    quotient *= p
    x -= quotient


TASK = Rank()
