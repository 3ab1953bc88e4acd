"""Random draws: every block of every stream has its own generator, and operands are drawn from it in batches."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.grid import SMALLEST, round_to_grid
from mathpipe.datasets.matrices import Matrices
from mathpipe.generate.law import MatrixLaw

Ints = NDArray[np.int64]


def block_generator(digest: str, stream: str, block: int, draw: int) -> np.random.Generator:
    """The generator of one draw within a block: SeedSequence(words of sha256(digest, stream), spawn_key (block, draw)).

    Neighbouring blocks, streams and laws share nothing, which seed + block would not give.
    """
    words = np.frombuffer(hashlib.sha256(f"{digest}/{stream}".encode()).digest(), dtype="<u4")
    sequence = np.random.SeedSequence([int(w) for w in words], spawn_key=(block, draw))
    return np.random.Generator(np.random.SFC64(sequence))


def draw_matrices(rng: np.random.Generator, n: int, law: MatrixLaw, side_by_side: int = 1) -> Matrices:
    """n problems of ``side_by_side`` matrices of one shape each, written next to each other: m x (side_by_side * n).

    Entries are U(-c, c) or N(0, c^2/3); rounded to the 3-digit grid (exact operands) or to float32.
    """
    rows, cols = _draw_shapes(rng, n, law)
    cols = cols * side_by_side
    sizes = rows * cols
    total = int(sizes.sum())
    if law.min_coeff is None:
        bound: float | NDArray[np.float64] = law.max_coeff
    else:
        drawn = rng.integers(law.min_coeff, int(law.max_coeff), size=n, endpoint=True)
        bound = np.repeat(drawn.astype(np.float64), sizes)
    if law.entries == "uniform":
        values = rng.random(total)
        values *= 2
        values -= 1
        values *= bound
    else:
        values = rng.standard_normal(total)
        values *= bound / math.sqrt(3)
    values = round_to_grid(values) if law.exact_operands else values.astype(np.float32).astype(np.float64)
    return Matrices(values, rows, cols)


def add_noise(rng: np.random.Generator, clean: Matrices, law: MatrixLaw, *, symmetric: bool) -> Matrices:
    """A + (c_max sigma / sqrt 3) N(0, 1), symmetric noise for symmetric operands, rounded to the 3-digit grid.

    Noise has the standard deviation of sigma times an entry of the largest coefficient.
    """
    scale = law.max_coeff * law.noise / math.sqrt(3)
    noise = Matrices(scale * rng.standard_normal(len(clean.values)), clean.rows, clean.cols)
    if symmetric:
        noise = noise.map(lambda e: np.tril(e) + np.tril(e, -1).transpose(0, 2, 1))
    return Matrices(round_to_grid(clean.values + noise.values), clean.rows, clean.cols)


def _draw_shapes(rng: np.random.Generator, n: int, law: MatrixLaw) -> tuple[Ints, Ints]:
    if law.rows is not None and law.cols is not None:
        return np.full(n, law.rows, dtype=np.int64), np.full(n, law.cols, dtype=np.int64)
    if law.min_dim == law.max_dim:
        return np.full(n, law.min_dim, dtype=np.int64), np.full(n, law.min_dim, dtype=np.int64)
    rows = rng.integers(law.min_dim, law.max_dim, size=n, endpoint=True)
    cols = rng.integers(law.min_dim, law.max_dim, size=n, endpoint=True) if law.rectangular else rows
    return rows, cols


def distinct_entries(law: MatrixLaw) -> float:
    """How many values one written entry can take: both signs of 900 mantissas in each decade from 1e-7 to c, and zero."""
    largest = law.max_coeff if law.entries == "uniform" else law.max_coeff * 10
    decade = math.floor(math.log10(largest) + 1e-12)
    full_decades = decade - round(math.log10(SMALLEST))
    return 2 * (900 * full_decades + (largest / 10.0**decade - 1) * 100 + 1) + 1
