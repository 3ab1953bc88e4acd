"""Problems follow their spec."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from mathpipe.datasets.tokenizers.decimal_grid import round_to_grid
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.noise import add_noise
from mathpipe.generate.sampling.random_matrices import distinct_entries, sample_matrices
from mathpipe.generate.sampling.rng_streams import chunk_generator

RNG_SEED = 20
SIGNIFICANCE = 1e-4  # one false alarm in 10,000; the seed is fixed, so the outcome is too


def entries(n: int = 4_000, **spec: object) -> np.ndarray:
    return sample_matrices(np.random.default_rng(RNG_SEED), n, MatrixSpec.model_validate(spec)).values


def test_uniform_entries() -> None:
    values = entries(max_coeff=7.0, round_problems=False)
    assert stats.kstest(values, stats.uniform(-7, 14).cdf).pvalue > SIGNIFICANCE


def test_gaussian_entries_have_the_variance_of_uniform_ones() -> None:
    values = entries(entries="gaussian", round_problems=False)
    assert stats.kstest(values, stats.norm(0, 10 / np.sqrt(3)).cdf).pvalue > SIGNIFICANCE


def test_rounding_error_is_at_most_half_a_unit() -> None:
    exact, rounded = entries(round_problems=False), entries()
    unit = 10.0 ** (np.floor(np.log10(np.abs(exact))) - 2)
    assert (np.abs(rounded - exact) <= 0.5001 * unit).all()


def test_dimensions_are_uniform() -> None:
    square = sample_matrices(np.random.default_rng(1), 6_000, MatrixSpec(min_dim=2, max_dim=7))
    assert np.array_equal(square.rows, square.cols)
    assert stats.chisquare(np.bincount(square.rows)[2:]).pvalue > SIGNIFICANCE
    free = sample_matrices(np.random.default_rng(1), 6_000, MatrixSpec(min_dim=2, max_dim=7, rectangular=True))
    table = np.histogram2d(free.rows, free.cols, bins=6)[0]
    assert stats.chisquare(table.reshape(-1)).pvalue > SIGNIFICANCE


def test_fixed_shapes_and_side_by_side() -> None:
    matrices = sample_matrices(np.random.default_rng(0), 3, MatrixSpec(rows=2, cols=4), side_by_side=2)
    assert matrices.shape == (2, 8)


def test_coefficient_bound_is_uniform_over_the_integers() -> None:
    """The largest of 400 entries sits just below its own bound c."""
    matrices = sample_matrices(
        np.random.default_rng(3), 3_000, MatrixSpec(min_dim=20, max_dim=20, min_coeff=3, max_coeff=6)
    )
    bounds = np.ceil(np.abs(matrices.dense()).max(axis=(1, 2)) - 1e-9)
    counts = np.bincount(bounds.astype(int), minlength=7)
    assert counts[:3].sum() == 0
    assert stats.chisquare(counts[3:7]).pvalue > SIGNIFICANCE


def test_neighbouring_generators_are_independent() -> None:
    digest = DatasetSpec(task="add", problems=MatrixSpec()).fingerprint
    other = DatasetSpec(task="add", problems=MatrixSpec(), seed=1).fingerprint
    first = [chunk_generator(digest, "train", b, d).random(4).tolist() for b in range(3) for d in range(3)]
    first += [
        chunk_generator(digest, "valid", 0, 0).random(4).tolist(),
        chunk_generator(other, "train", 0, 0).random(4).tolist(),
    ]
    numbers = [x for draw in first for x in draw]
    assert len(set(numbers)) == len(numbers)
    assert chunk_generator(digest, "train", 1, 2).random(4).tolist() == first[5]


@pytest.mark.parametrize(
    ("bound", "count"), [(10.0, 2 * (900 * 8 + 1) + 1), (1.0, 2 * (900 * 7 + 1) + 1), (5.0, 2 * (900 * 7 + 401) + 1)]
)
def test_number_of_distinct_entries(bound: float, count: int) -> None:
    assert distinct_entries(MatrixSpec(max_coeff=bound)) == count


@pytest.mark.parametrize(
    "spec",
    [
        {"min_dim": 3, "max_dim": 2},
        {"rows": 3},
        {"rows": 3, "cols": 3, "rectangular": True},
        {"min_coeff": 5, "max_coeff": 4},
        {"max_coeff": 0},
        {"max_coeff": float("inf")},
        {"max_dim": 101},
        {"entries": "cauchy"},
        {"bound": 3},
    ],
)
def test_impossible_specs(spec: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MatrixSpec.model_validate(spec)


def test_noise_has_its_standard_deviation_and_symmetry() -> None:
    spec = MatrixSpec(min_dim=4, max_dim=4, noise=0.05, max_coeff=10)
    clean = sample_matrices(np.random.default_rng(0), 4_000, spec)
    for symmetric in (False, True):
        noisy = add_noise(np.random.default_rng(1), clean, spec, symmetric=symmetric)
        assert np.array_equal(round_to_grid(noisy.values), noisy.values)
        noise = noisy.dense() - clean.dense()
        assert abs(noise.std() / (10 * 0.05 / np.sqrt(3)) - 1) < 0.02
        asymmetry = np.abs(noise - noise.transpose(0, 2, 1)).max()
        assert (asymmetry < 0.06) == symmetric  # up to the rounding of the written sum
    mixed = sample_matrices(np.random.default_rng(0), 50, MatrixSpec(min_dim=1, max_dim=4, noise=0.1))
    noisy = add_noise(np.random.default_rng(1), mixed, MatrixSpec(noise=0.1), symmetric=True)
    assert noisy.same_shape(mixed).all()
