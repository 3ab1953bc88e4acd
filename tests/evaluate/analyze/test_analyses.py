"""Analyses on made predictions: every known defect shows up in its own analysis and nowhere else; figures are recomputed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.analyze.analyses import Analysis, analyse, evaluation_data
from mathpipe.evaluate.analyze.baselines import TOLERANCE_LEVELS, BaselineCounts
from mathpipe.evaluate.analyze.statistics import discriminability, ks_p_value, quantile_bins, wilson
from mathpipe.evaluate.build_report import build_report
from mathpipe.evaluate.decode.decoding import Hypotheses
from mathpipe.evaluate.predictions import PredictionsWriter, predictions_table
from mathpipe.evaluate.score.diagnostics import diagnostics
from mathpipe.evaluate.score.matrix_scoring import OUTCOMES, append_end, score
from mathpipe.generate.spec import MatrixSpec
from mathpipe.generate.tasks.registry import matrix_task

WRITER = MatrixTokenizer.named("P1000")
COUNT = 600
METADATA = {"outcomes": list(OUTCOMES), "split": "test", "tolerance": 0.05, "decoding": "greedy"}


def made(task: str, change: Callable[[np.ndarray, np.random.Generator], np.ndarray], **spec: Any) -> pa.Table:
    """Predictions for 600 problems: each reference changed by ``change(dense (n, r, c))`` and written; probabilities at random."""
    rng = np.random.default_rng(1)
    wanted = MatrixSpec(**({"min_dim": 4, "max_dim": 4} | spec))
    problems = matrix_task(task).sample(rng, COUNT, wanted)
    solutions = matrix_task(task).solve(problems).solutions
    rows = MatrixExamples(np.arange(COUNT), problems, solutions)
    tokens = append_end(*WRITER.encode(Matrices.from_dense(change(solutions.dense().copy(), rng))))
    decoded = Hypotheses(tokens, -rng.exponential(size=COUNT))
    return predictions_table(score(matrix_task(task), WRITER, rows, decoded), "test", WRITER, WRITER, matrix_task(task))


def analyses_of(task: str, table: pa.Table, baseline_counts: BaselineCounts | None = None) -> dict[str, Analysis]:
    return {
        a.name: a
        for a in analyse(evaluation_data(table, {**METADATA, "task": task}, baseline_counts or BaselineCounts()))
    }


def within(found: dict[str, Analysis], name: str, tolerance: float) -> float:
    table = found["properties_by_tolerance"]
    return float(table.column(name)[table.column("tolerance").index(tolerance)])


def test_wrong_eigenvalues_show_in_the_eigenvalues_alone() -> None:
    def change(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x[:200, 0] *= 1.4
        return x

    found = analyses_of("eigenvectors", made("eigenvectors", change))
    assert within(found, "eigenvalue_error", 0.1) == pytest.approx(400 / 600)
    assert within(found, "error_l1", 0.1) == pytest.approx(400 / 600)
    assert within(found, "unit_norm_error", 0.02) == within(found, "max_cosine", 0.02) == 1


def test_wrong_norms_show_in_the_norms() -> None:
    def change(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x[:150, 1:, 2] *= 1.3  # one column of V
        return x

    found = analyses_of("eigenvectors", made("eigenvectors", change))
    assert within(found, "unit_norm_error", 0.2) == pytest.approx(450 / 600)
    assert within(found, "eigenvalue_error", 0.01) == within(found, "max_cosine", 0.02) == 1


@pytest.mark.parametrize(("i", "j"), [(0, 1), (0, 3), (1, 3)])
def test_any_pair_of_vectors_that_is_not_orthogonal_shows(i: int, j: int) -> None:
    def change(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mixed = x[:100, 1:, j] + 0.6 * x[:100, 1:, i]
        x[:100, 1:, j] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
        return x

    found = analyses_of("eigenvectors", made("eigenvectors", change))
    assert within(found, "max_cosine", 0.25) == pytest.approx(500 / 600)
    assert within(found, "eigenvalue_error", 0.01) == 1
    comparison_tables = found["correct_and_incorrect"]
    place = {row[0]: dict(zip(comparison_tables.columns, row, strict=True)) for row in comparison_tables.rows}
    right, wrong = (place[f"condition number of the predicted V, {w}"] for w in ("correct", "incorrect"))
    assert right["max"] < 1.1 < wrong["min"]
    assert (right["predictions"], wrong["predictions"]) == (500, 100)
    cosine = 0.6 / np.sqrt(1.36)
    assert wrong["p50"] == pytest.approx(np.sqrt((1 + cosine) / (1 - cosine)), rel=0.02)


def test_diagnostics_equal_those_of_scipy_free_definitions() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20, 3, 3))
    a += np.swapaxes(a, 1, 2)
    x = matrix_task("eigenvectors").solve(Matrices.from_dense(a)).solutions.dense()
    h = x + rng.normal(size=x.shape) * 0.1
    found = diagnostics("eigenvectors", *(Matrices.from_dense(m) for m in (a, x, h)))
    for k in range(20):
        v = h[k, 1:]
        values = np.linalg.eigvalsh(a[k])
        assert found["eigenvalue_error"][k] == pytest.approx(
            np.abs(np.sort(h[k, 0]) - values).sum() / np.abs(values).sum()
        )
        norms = [np.linalg.norm(w) for w in (*v, *v.T)]
        assert found["unit_norm_error"][k] == pytest.approx(max(abs(n - 1) for n in norms))
        pairs = [(0, 1), (0, 2), (1, 2)]
        cosines = [abs(v[:, i] @ v[:, j]) / np.linalg.norm(v[:, i]) / np.linalg.norm(v[:, j]) for i, j in pairs]
        assert found["max_cosine"][k] == pytest.approx(max(cosines))
        assert found["vectors_condition"][k] == pytest.approx(np.linalg.cond(v))
    zeros = diagnostics("eigenvectors", *(Matrices.from_dense(m) for m in (a, x, np.zeros_like(x))))
    assert (zeros["vectors_condition"] == np.inf).all() and (zeros["max_cosine"] == 1).all()
    m = rng.normal(size=(10, 3, 2))
    y = matrix_task("svd").solve(Matrices.from_dense(m)).solutions.dense()
    right = diagnostics("svd", *(Matrices.from_dense(z) for z in (m, y, y)))
    for name, values in right.items():
        np.testing.assert_allclose(values, 1 if "condition" in name else 0, atol=1e-6)


def test_a_defect_of_ill_conditioned_problems_is_what_separates_failures() -> None:
    ill = np.zeros(COUNT, dtype=bool)

    def change(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        condition = np.linalg.cond(x)
        ill[:] = condition > np.quantile(condition, 0.8)
        x[ill] *= 1.5
        return x

    table = made("inverse", change)
    found = analyses_of("inverse", table)
    first = dict(zip(found["failure_discriminability"].columns, found["failure_discriminability"].rows[0], strict=True))
    assert first["covariate"] == "condition number of the problem"
    assert first["failure_values"] == "larger" and first["auc"] > 0.95 and first["p_value"] < 1e-10
    condition, failed = table["condition_number"].to_numpy(), ~table["passed"].to_numpy(zero_copy_only=False)
    ks = stats.ks_2samp(condition[failed], condition[~failed], method="asymp")
    assert first["ks_statistic"] == pytest.approx(ks.statistic)
    bins = found["by_condition_number"]
    assert sum(bins.column("problems")) == COUNT
    assert bins.column("accuracy")[-1] == bins.column("accuracy")[-2] == 0
    assert bins.column("accuracy")[0] == 1
    for row in bins.rows:
        inside = (condition >= row[0]) & (condition <= row[1])
        assert (inside.sum(), (~failed)[inside].mean()) == (row[3], pytest.approx(row[4]))


def test_a_defect_that_has_nothing_to_do_with_the_problem_separates_nothing() -> None:
    def change(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x[rng.random(len(x)) < 0.3] *= -1
        return x

    found = analyses_of("add", made("add", change))
    for row in found["failure_discriminability"].rows:
        assert row[5] > 1e-3 and 0.4 < row[1] < 0.6
    assert found["outcomes"].column("proportion")[2] == pytest.approx(0.3, abs=0.06)


def test_accuracy_by_tolerance_and_norm_is_recomputed() -> None:
    table = made("add", lambda x, rng: x * (1 + 0.1 * rng.normal(size=x.shape)))
    passed = {"reference": list(range(9)), "best_representable": [9] * 9}
    found = analyses_of("add", table, BaselineCounts(10, passed))["accuracy_by_tolerance"]
    h, x = (np.array(table[name].to_pylist()) for name in ("decoded", "reference"))
    l1 = np.abs(h - x).sum(1) / np.abs(x).sum(1)
    l2 = ((h - x) ** 2).sum(1) / (x**2).sum(1)
    largest = np.abs(h - x).max(1) / np.abs(x).max(1)
    for row in found.rows:
        t, p, low, high, p2, pmax, reference, best_representable = row
        assert (p, p2, pmax) == ((l1 <= t).mean(), (l2 <= t).mean(), (largest <= t).mean())
        interval = stats.binomtest(int((l1 <= t).sum()), COUNT).proportion_ci(method="wilson")
        assert (low, high) == (pytest.approx(interval.low, abs=1e-12), pytest.approx(interval.high, abs=1e-12))
        assert (reference, best_representable) == (TOLERANCE_LEVELS.index(t) / 10, 0.9)


def test_calibration_tells_a_model_that_knows_from_one_that_does_not() -> None:
    rng = np.random.default_rng(3)
    table = made("add", lambda x, rng: x)
    p = rng.uniform(0.05, 1, COUNT)
    columns = {"log_probability": pa.array(np.log(p))}
    honest = rng.random(COUNT) < p
    for passed, small in ((honest, True), (np.ones(COUNT, dtype=bool), False)):
        changed = table
        for name, values in {**columns, "passed": pa.array(passed)}.items():
            changed = changed.set_column(changed.column_names.index(name), name, values)
        found = analyses_of("add", changed)["calibration"]
        gap = sum(
            n * abs(q - a) for n, q, a in zip(*map(found.column, ("problems", "probability", "accuracy")), strict=True)
        )
        assert (gap / COUNT < 0.1) == small
        assert f"{100 * gap / COUNT:.2f} percentage points" in found.note
        assert found.chart is not None and (found.chart.x, found.chart.diagonal) == ("probability", True)


def test_calibration_of_a_model_that_is_nowhere_sure_is_drawn_by_log_probability() -> None:
    table = made("add", lambda x, rng: x)
    log_p = np.linspace(-30, -4, COUNT)
    changed = table.set_column(table.column_names.index("log_probability"), "log_probability", pa.array(log_p))
    found = analyses_of("add", changed)["calibration"]
    assert found.chart is not None and (found.chart.x, found.chart.diagonal) == ("log_probability", False)
    means = found.column("log_probability")
    assert all(
        low <= mean <= high
        for low, mean, high in zip(
            found.column("log_probability_from"), means, found.column("log_probability_to"), strict=True
        )
    )
    assert "All probabilities are small" in found.note


def test_accuracy_by_rank_counts_the_first_right_hypothesis() -> None:
    table = made("add", lambda x, rng: x)
    rank = np.array([0.0, 1.0, 4.0, np.nan] * 150)
    changed = table.set_column(
        table.column_names.index("correct_rank"), "correct_rank", pa.array(rank, from_pandas=True)
    )
    s = evaluation_data(changed, {**METADATA, "task": "add"}, BaselineCounts())
    found = {a.name: a for a in analyse(type(s)(s.table, s.baseline_counts, s.task, s.metadata, 5))}["accuracy_by_rank"]
    assert dict(zip(found.column("hypotheses"), found.column("accuracy"), strict=True)) == {
        1: 0.25,
        2: 0.5,
        3: 0.5,
        5: 0.75,
    }


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 10), (995, 1000), (1, 1)])
def test_wilson_interval_solves_its_quadratic(k: int, n: int) -> None:
    """The bounds are the roots p of (k/n - p)^2 = z^2 p (1 - p) / n."""
    p, z = k / n, 1.959963984540054
    roots = np.roots([1 + z**2 / n, -(2 * p + z**2 / n), p**2])
    assert wilson(k, n) == (pytest.approx(roots.min(), abs=1e-7), pytest.approx(roots.max(), abs=1e-7))


def test_wilson_interval_without_problems() -> None:
    assert wilson(0, 0) == (0, 1)


def test_discriminability_matches_pairwise_definition() -> None:
    rng = np.random.default_rng(0)
    for ties in (False, True):
        values = rng.normal(size=300)
        failed = rng.random(300) < 0.3
        values[failed] += 0.4
        values = np.round(values) if ties else values
        values[5], values[6], values[7] = np.nan, np.inf, -np.inf
        result = discriminability(values, failed)
        assert result is not None
        valid = ~np.isnan(values)
        a, b = values[valid & failed], values[valid & ~failed]
        pairs = (a[:, None] > b).mean() + (a[:, None] == b).mean() / 2
        steps = [abs((a <= x).mean() - (b <= x).mean()) for x in values[valid]]
        x = max(steps) * np.sqrt(len(a) * len(b) / (len(a) + len(b)))
        series = 2 * sum((-1) ** (k - 1) * np.exp(-2 * k**2 * x**2) for k in range(1, 101))
        assert (result.auc, result.ks) == (pytest.approx(pairs), pytest.approx(max(steps)))
        assert result.p_value == pytest.approx(series)
        assert (result.failed, result.right) == (len(a), len(b))
    assert discriminability(values, np.zeros(300, dtype=bool)) is None
    assert ks_p_value(0.0, 10, 10) == 1


def test_bins_hold_about_equally_many() -> None:
    rng = np.random.default_rng(0)
    bounds, which = quantile_bins(np.append(rng.normal(size=1000), np.nan))
    assert len(bounds) == 10 and which[-1] == -1
    assert np.bincount(which[:-1]).tolist() == [100] * 10
    bounds, which = quantile_bins(np.array([3.0, 3, 5, 5, 5, np.inf]))
    assert bounds == [(3, 3), (5, 5), (np.inf, np.inf)] and which.tolist() == [0, 0, 1, 1, 1, 2]
    bounds, which = quantile_bins(np.array([1.0] * 990 + list(range(2, 22))))
    assert sum(np.bincount(which)) == 1010 and bounds[0] == (1, 1)


def test_everything_is_told_from_the_predictions_file(tmp_path: Path) -> None:
    table = made("eigenvectors", lambda x, rng: x * (1 + 0.03 * rng.normal(size=x.shape)))
    with (tmp_path / "predictions.parquet").open("wb") as file:
        writer = PredictionsWriter(file, {**METADATA, "task": "eigenvectors"})
        writer.append(table)
        writer.close()
    told = build_report(Storage(str(tmp_path)), verbose=True)
    names = {p.name for p in (tmp_path / "analyses").iterdir()}
    assert {
        "outcomes.csv",
        "outcomes.svg",
        "by_norm.csv",
        "by_norm.svg",
        "analyses.json",
        "correct_and_incorrect.csv",
    } <= names
    assert (tmp_path / "accuracy_by_tolerance.csv").read_text().startswith("tolerance,accuracy,low,high,accuracy_l2")
    for svg in (tmp_path / "analyses").glob("*.svg"):
        assert svg.read_text().count("<svg") == 1 and "nan" not in svg.read_text()
    assert told.metrics["accuracy"] == table["passed"].to_numpy(zero_copy_only=False).mean()
    assert (
        "the covariate that discriminates failures best" in told.text
        or "no covariate discriminates failures" in told.text
    )
