"""Assign problems to splits by an unsalted hash of the stored problem.

The hash of a problem is the same for every seed, size and dataset, and each split has a constant share of the hash space. So
two splits never hold the same stored problem, not even splits of different datasets. Equivalent problems that are written
differently may belong to different splits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_per_matrix
from mathpipe.datasets.containers.ragged_positions import ranges
from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.directory import EXTRA_PREFIX
from mathpipe.datasets.tokenizers.decimal_grid import round_to_grid

TRAIN, VALID, TEST = "train", "valid", "test"
# Shares of the hash space, in 16ths: [first, end).
_HASH_RANGES = {TRAIN: (0, 14), VALID: (14, 15), TEST: (15, 16)}

UInts = NDArray[np.uint64]


def hash_range(split: str) -> tuple[int, int]:
    """The 16ths [first, end) of the hash space of a split; every test split (``test``, ``test-...``) shares one."""
    name = TEST if split.startswith(EXTRA_PREFIX) else split
    if name not in _HASH_RANGES:
        raise UserError("unknown split", expected="train, valid, test or test-<name>", got=repr(split))
    return _HASH_RANGES[name]


def share(split: str) -> float:
    """The share of all problems in a split: 7/8 for train, 1/16 each for valid and test."""
    first, end = hash_range(split)
    return (end - first) / 16


def belongs_to_split(problems: Matrices, split: str, *, on_grid: bool) -> NDArray[np.bool_]:
    """Which problems belong to the split, (n,). ``on_grid``: the values lie on the decimal grid already."""
    return in_split(problem_hash(problems, on_grid=on_grid), split)


def problem_hash(problems: Matrices, *, on_grid: bool = False, keys_from: int = 0) -> UInts:
    """A 64-bit hash of each stored problem, (n,), from its shape and the float32 of each 3-digit decimal; -0 equals 0.

    h = mix(k0 r + k1 c + sum_j k_{j+2} b_j) modulo 2^64, with b_j the 32 bits of entry j, fixed odd k, and mix the finaliser
    of splitmix64 (Steele, Lea and Flood 2014). Multilinear hashing makes every entry count and stays vectorised. ``keys_from``:
    other keys give another hash; splits use the keys from 0.
    """
    values = problems.values if on_grid else round_to_grid(problems.values)
    bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)
    longest = int(problems.sizes.max(initial=0))
    keys = _keys(longest + 2, keys_from)
    if problems.shape is not None:
        mixed = _weighted_sums(bits.reshape(len(problems), -1), keys[2:])
    else:
        within = np.arange(len(bits)) - np.repeat(problems.offsets[:-1], problems.sizes)
        mixed = reduce_per_matrix(bits.astype(np.uint64) * keys[2:][within], problems, np.add)
    h = mixed + problems.rows.astype(np.uint64) * keys[0] + problems.cols.astype(np.uint64) * keys[1]
    return _splitmix_finalise(h)


def sequence_hash(sequences: Sequences, *, keys_from: int = 0) -> UInts:
    """A 64-bit hash of each stored problem, (n,), from its length and token ids: h = mix(k0 L + sum_j k_{j+1} id_j) modulo 2^64.

    An integer of 64 bits counts as two ids of 32 bits, the lower first: the odd keys do not tell 2^63 at one place from another.
    """
    ids, halves = sequences.values.view(), 2 if sequences.values.dtype == np.int64 else 1
    lengths, offsets = sequences.lengths * halves, sequences.offsets * halves
    keys = _keys(int(lengths.max(initial=0)) + 1, keys_from)
    id_keys = keys[1:]
    if halves == 2 and len(ids) and ids.view(np.uint64).max() < 1 << 32:  # the upper halves are 0 and add nothing
        id_keys, offsets = keys[1::2], sequences.offsets
    elif halves == 2:
        ids = np.ascontiguousarray(ids, dtype="<i8").view("<u4")
    counts = offsets[1:] - offsets[:-1]
    if len(counts) and (counts == counts[0]).all():
        mixed = _weighted_sums(ids.reshape(len(counts), -1), id_keys[: int(counts[0])])
    else:
        products = id_keys[ranges(np.zeros(len(counts), dtype=np.int64), counts)]
        products *= ids.view(np.uint64) if ids.dtype == np.int64 else ids.astype(np.uint64)
        sums = np.zeros(len(ids) + 1, dtype=np.uint64)
        np.cumsum(products, out=sums[1:])  # modulo 2^64, so differences are exact
        mixed = sums[offsets[1:]] - sums[offsets[:-1]]
    return _splitmix_finalise(mixed + lengths.astype(np.uint64) * keys[0])


def in_split(hashes: UInts, split: str) -> NDArray[np.bool_]:
    """Which problems belong to the split by their hashes, (n,)."""
    first, end = hash_range(split)
    sixteenth = hashes >> np.uint64(60)
    return np.asarray((sixteenth >= first) & (sixteenth < end))


def _weighted_sums(bits: NDArray[Any], keys: UInts) -> UInts:
    return np.asarray(np.einsum("ij,j->i", bits.astype(np.uint64), keys))


def _splitmix_finalise(z: UInts) -> UInts:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _keys(n: int, first: int = 0) -> UInts:
    """n fixed odd 64-bit numbers: the splitmix64 sequence from 0, or from its ``first`` step."""
    steps = np.arange(first + 1, first + n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return _splitmix_finalise(steps) | np.uint64(1)
