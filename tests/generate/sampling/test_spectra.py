"""Spectra follow their specs: distributions of eigenvalues against theory, and symmetry that survives rounding."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from scipy import integrate, stats

from mathpipe.datasets.containers import ragged_matrices
from mathpipe.datasets.containers.ragged_matrices import SPECTRA
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.example_formats import MatrixFormat
from mathpipe.datasets.format.matrix_columns import (
    MatrixExamples,
    from_arrow,
    shard_schema,
    to_arrow,
)
from mathpipe.datasets.tokenizers.decimal_grid import round_to_grid
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.spectra import sample_symmetric, symmetric_from_upper
from mathpipe.generate.tasks.task_registry import get_task, parse_spec
from mathpipe.pipeline.config.resolution import ParameterSource
from mathpipe.pipeline.config.stage_parameters import resolve_generate

SIGNIFICANCE = 1e-4  # one false alarm in 10,000; the seed is fixed, so the outcome is too
C = 7.0


def sample_matrices(n: int = 4_000, dim: int = 5, seed: int = 8, **spec: object) -> np.ndarray:
    """n symmetric matrices of one size, not rounded to 3 digits."""
    fixed = {"min_dim": dim, "max_dim": dim, "max_coeff": C, "round_problems": False, **spec}
    return sample_symmetric(np.random.default_rng(seed), n, MatrixSpec.model_validate(fixed)).dense()


def eigenvalues(n: int = 4_000, dim: int = 5, seed: int = 8, **spec: object) -> np.ndarray:
    return np.linalg.eigvalsh(sample_matrices(n, dim, seed, **spec))


def deviation(dim: int) -> float:
    return math.sqrt(dim) * C / math.sqrt(3)


@pytest.mark.parametrize("dim", [1, 2, 5, 10])
@pytest.mark.parametrize(
    ("spectrum", "spec"),
    [
        ("uniform", stats.uniform(-math.sqrt(3), 2 * math.sqrt(3))),
        ("gaussian", stats.norm()),
        ("laplace", stats.laplace(scale=math.sqrt(0.5))),
        ("positive2", stats.expon(scale=math.sqrt(0.5))),
    ],
)
def test_independent_eigenvalues(spectrum: str, spec: stats.rv_continuous, dim: int) -> None:
    values = eigenvalues(spectrum=spectrum, dim=dim).reshape(-1) / deviation(dim)
    assert stats.kstest(values, spec.cdf).pvalue > SIGNIFICANCE


def semicircle_cdf(x: np.ndarray) -> np.ndarray:
    """Of the semicircle of radius 2."""
    x = np.clip(x, -2, 2)
    return 0.5 + x * np.sqrt(4 - x**2) / (4 * np.pi) + np.arcsin(x / 2) / np.pi


def marcenko_pastur_cdf(x: np.ndarray) -> np.ndarray:
    """Of the spec of ratio 1: that of t^2 where t follows the semicircle of radius 2."""
    t = np.sqrt(np.clip(x, 0, 4))
    return semicircle_cdf(t) - semicircle_cdf(-t)


def test_reference_distributions() -> None:
    density = integrate.quad(lambda x: np.sqrt(4 - x**2) / (2 * np.pi), -2, 0.7)[0]
    assert semicircle_cdf(np.array(0.7)) == pytest.approx(density)
    density = integrate.quad(lambda x: np.sqrt(x * (4 - x)) / (2 * np.pi * x), 0, 1.3)[0]
    assert marcenko_pastur_cdf(np.array(1.3)) == pytest.approx(density)


@pytest.mark.parametrize("entries", ["uniform", "gaussian"])
def test_semicircle(entries: str) -> None:
    """Eigenvalues of one matrix repel each other, so that their distribution is closer to its spec than independent ones."""
    values = eigenvalues(20, 100, entries=entries).reshape(-1) / deviation(100)
    assert stats.kstest(values, semicircle_cdf).statistic < 0.01
    assert [np.mean(values**k) for k in (2, 4, 6)] == pytest.approx([1, 2, 5], rel=0.05)  # Catalan numbers


@pytest.mark.parametrize("entries", ["uniform", "gaussian"])
def test_marcenko_pastur(entries: str) -> None:
    values = eigenvalues(20, 100, entries=entries, spectrum="marcenko").reshape(-1) / (100 * C / 3)
    assert stats.kstest(values, marcenko_pastur_cdf).statistic < 0.01
    assert [np.mean(values**k) for k in (1, 2, 3)] == pytest.approx([1, 2, 5], rel=0.05)


def test_marcenko_has_the_entries_of_a_product() -> None:
    """M^T M with entries U(-sqrt c, sqrt c): the diagonal has mean n c / 3, the rest mean 0 and variance n c^2 / 9."""
    a = sample_matrices(20_000, 5, spectrum="marcenko")
    diagonal, off = a[:, np.arange(5), np.arange(5)], a[:, 0, 1]
    assert diagonal.mean() == pytest.approx(5 * C / 3, rel=0.01)
    assert off.mean() == pytest.approx(0, abs=0.1) and off.var() == pytest.approx(5 * C**2 / 9, rel=0.03)


@pytest.mark.parametrize("spectrum", [name for name in SPECTRA if name != "marcenko"])
@pytest.mark.parametrize("entries", ["uniform", "gaussian"])
def test_spectra_have_equal_second_moments(spectrum: str, entries: str) -> None:
    values = eigenvalues(10_000, 5, spectrum=spectrum, entries=entries) / deviation(5)
    assert np.mean(values**2) == pytest.approx(1, rel=0.04)


def test_positive_is_the_absolute_value_of_the_semicircle_one() -> None:
    """From one generator: |A0| and A0 have the same eigenvectors, and eigenvalues of equal size."""
    a, a0 = sample_matrices(200, spectrum="positive"), sample_matrices(200)
    np.testing.assert_allclose(a @ a, a0 @ a0, atol=1e-3)
    assert (np.linalg.eigvalsh(a) > -1e-5).all()


@pytest.mark.parametrize("spectrum", ["positive", "uniform", "gaussian", "laplace", "positive2"])
def test_eigenvectors_are_those_of_the_entry_spec(spectrum: str) -> None:
    a, a0 = sample_matrices(200, spectrum=spectrum), sample_matrices(200)
    np.testing.assert_allclose(a @ a0, a0 @ a, atol=1e-3)


@pytest.mark.parametrize("spectrum", [(), *SPECTRA, SPECTRA])
@pytest.mark.parametrize("exact", [True, False])
def test_problems_are_symmetric_exactly_and_rounded(spectrum: tuple[str, ...], exact: bool) -> None:
    spec = MatrixSpec(min_dim=1, max_dim=7, spectrum=spectrum, round_problems=exact, min_coeff=2, max_coeff=9)
    problems = sample_symmetric(np.random.default_rng(0), 500, spec)
    assert np.array_equal(problems.rows, problems.cols) and set(problems.rows) == set(range(1, 8))
    for a in problems:
        assert np.array_equal(a, a.T)
    grid = round_to_grid(problems.values) if exact else problems.values.astype(np.float32)
    assert np.array_equal(grid, problems.values)


def test_bounds_are_sampled_per_problem() -> None:
    """With c uniform in 1..3, E[l^2] = n E[c^2] / 3 = n 14 / 9."""
    for spectrum in ("semicircle", "laplace"):
        values = eigenvalues(20_000, 4, spectrum=spectrum, min_coeff=1, max_coeff=3)
        assert np.mean(values**2) == pytest.approx(4 * 14 / 9, rel=0.04)


def test_mixture_samples_spectra_uniformly() -> None:
    """Of 5 x 5 semicircle matrices almost none is positive definite, of marcenko ones all are."""
    positive = (eigenvalues(6_000, spectrum=("semicircle", "marcenko")) > 0).all(axis=1)
    assert stats.binomtest(int(positive.sum()), 6_000, 0.5).pvalue > SIGNIFICANCE


def test_dimensions_and_spectra_of_a_mixture_are_independent() -> None:
    spec = MatrixSpec(min_dim=3, max_dim=5, spectrum=("semicircle", "marcenko"), round_problems=False)
    problems = sample_symmetric(np.random.default_rng(2), 6_000, spec)
    positive = np.array([np.linalg.eigvalsh(a)[0] > 0 for a in problems])
    table = [[((problems.rows == n) & (positive == p)).sum() for n in (4, 5)] for p in (True, False)]
    assert stats.chi2_contingency(table).pvalue > SIGNIFICANCE


def test_default_spectrum_is_semicircle() -> None:
    assert np.array_equal(sample_matrices(50), sample_matrices(50, spectrum="semicircle"))


def test_symmetric_from_upper() -> None:
    assert symmetric_from_upper(np.arange(6.0)[None], 3)[0].tolist() == [[0, 1, 2], [1, 3, 4], [2, 4, 5]]


def test_shares_of_indefinite_marcenko_matrices() -> None:
    """About 6 % of 5 x 5 and 11 % of 10 x 10 ones are indefinite once rounded: cholesky rejects and counts them."""
    for dim, low, high in ((5, 0.05, 0.075), (10, 0.09, 0.14)):
        task = get_task("cholesky")
        problems = task.sample(np.random.default_rng(1), 4_000, MatrixSpec(min_dim=dim, max_dim=dim))
        rejected = task.solve(problems).rejected["not positive definite"]
        assert low < rejected.mean() < high
        lowest = np.linalg.eigvalsh(problems.dense())[:, 0]
        assert np.array_equal(rejected, lowest <= 1e-9)


@pytest.mark.parametrize("text", ["laplace, semicircle", "semicircle,laplace", ["laplace", "semicircle"]])
def test_spectrum_names_are_sorted(text: object) -> None:
    spec = MatrixSpec.model_validate({"spectrum": text})
    assert spec.spectrum == ("semicircle", "laplace")
    assert parse_spec(json.loads(DatasetSpec(task="eigenvalues", problems=spec).to_json())).problems == spec


@pytest.mark.parametrize("text", ["cauchy", "laplace,laplace", 3])
def test_invalid_spectrum_names(text: object) -> None:
    with pytest.raises(ValidationError):
        MatrixSpec.model_validate({"spectrum": text})


def test_spectrum_parameter() -> None:
    flags = {"task": "eigenvectors", "spectrum": "laplace,positive"}
    spec = resolve_generate(ParameterSource(), flags).dataset_spec()
    assert spec.problems.spectrum == ("positive", "laplace")
    assert resolve_generate(ParameterSource(), {"task": "eigenvectors"}).dataset_spec().problems.spectrum == ()
    with pytest.raises(UserError, match="takes no spectrum"):
        resolve_generate(ParameterSource(), {**flags, "task": "inverse"}).dataset_spec()
    with pytest.raises(UserError, match=r"generate.spec.spectrum.*semicircle.*laplac"):
        resolve_generate(ParameterSource(), {**flags, "spectrum": "laplac"}).dataset_spec()


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_mixture_stores_the_spectrum_of_each_row(tmp_path: Path, noise: float) -> None:
    problems = MatrixSpec(min_dim=2, max_dim=4, spectrum=("positive", "semicircle", "positive2"), noise=noise)
    spec = DatasetSpec(task="eigenvalues", problems=problems, chunk_rows=200)
    make_dataset(spec, Layout({"train": 600}, 400), str(tmp_path / "data"), workers=0)
    rows = MatrixExamples.concatenate(list(open_dataset(tmp_path / "data").chunks(150)))
    spectra = np.array(ragged_matrices.SPECTRA)[rows.problems.spectra]
    assert {*spectra.tolist()} == {"positive", "semicircle", "positive2"}
    positive = np.array([np.linalg.eigvalsh(a).min() > -1e-2 * np.abs(a).max() for a in rows.solved])
    assert positive[spectra != "semicircle"].all() and positive[spectra == "semicircle"].mean() < 0.3
    column = pq.read_table(next((tmp_path / "data").rglob("train/*.parquet")))["spectrum"].to_pylist()
    assert column == spectra[: len(column)].tolist()
    assert ragged_matrices.SPECTRA == SPECTRA

    one = spec.with_problems(problems.model_copy(update={"spectrum": ("positive",)}), 200)
    make_dataset(one, Layout({"train": 200}, 200), str(tmp_path / "one"), workers=0)
    assert "spectrum" not in pq.read_schema(next((tmp_path / "one").rglob("train/*.parquet"))).names


def test_read_mixture_without_spectrum_column(tmp_path: Path) -> None:
    form = MatrixFormat(100, mixed=True)
    with_column, without = shard_schema(noisy=False, mixed=True), shard_schema(noisy=False)
    assert form.accepts(with_column) and form.accepts(without) and not form.accepts(shard_schema(noisy=True))
    assert not MatrixFormat(100).accepts(with_column)
    sample_matrices = sample_symmetric(np.random.default_rng(0), 20, MatrixSpec(spectrum=("laplace", "uniform")))
    rows = MatrixExamples(np.arange(20), sample_matrices, sample_matrices)
    assert from_arrow(to_arrow(rows, without), round_problems=True).problems.spectra is None
    stored_spectra = from_arrow(to_arrow(rows, with_column), round_problems=True).problems.spectra
    assert stored_spectra is not None and stored_spectra.tolist() == sample_matrices.spectra.tolist()
    unknown = to_arrow(replace(rows, problems=sample_matrices.with_spectra(None)), with_column)
    assert from_arrow(unknown, round_problems=True).problems.spectra is None
