"""Analyses of synthetic predictions: each known defect shows in its own analysis alone, and figures are recomputed."""

from __future__ import annotations

import dataclasses
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
from mathpipe.evaluate.adapters.adapter_registry import adapter_of
from mathpipe.evaluate.analyze.analysis import Analysis
from mathpipe.evaluate.analyze.baselines import TOLERANCE_LEVELS, BaselineCounts
from mathpipe.evaluate.analyze.evaluation_data import evaluation_data
from mathpipe.evaluate.analyze.outcome_analyses import by_rank
from mathpipe.evaluate.build_report import build_report
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.predictions import PredictionsWriter
from mathpipe.evaluate.score.diagnostics import diagnostics
from mathpipe.evaluate.score.scoring import append_end
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks.matrix_task import MATRIX_OUTCOMES
from mathpipe.generate.tasks.task_registry import matrix_task

TOKENIZER = MatrixTokenizer.named("P1000")
COUNT = 600
METADATA = {"outcomes": list(MATRIX_OUTCOMES), "split": "test", "tolerance": 0.05, "decoding": "greedy"}


def predictions(task: str, change: Callable[[np.ndarray, np.random.Generator], np.ndarray], **spec: Any) -> pa.Table:
    """Predictions for 600 problems: references (n, r, c) modified by ``change`` and encoded, with random probabilities."""
    rng = np.random.default_rng(1)
    problem_spec = MatrixSpec(**({"min_dim": 4, "max_dim": 4} | spec))
    problems = matrix_task(task).sample(rng, COUNT, problem_spec)
    solutions = matrix_task(task).solve(problems).solutions
    examples = MatrixExamples(np.arange(COUNT), problems, solutions)
    tokens = append_end(*TOKENIZER.encode(Matrices.from_dense(change(solutions.dense().copy(), rng))))
    decoded = Hypotheses(tokens, -rng.exponential(size=COUNT))
    adapter = adapter_of(task)
    return adapter.table(adapter.score(TOKENIZER, examples, decoded), "test", TOKENIZER, TOKENIZER)


def analyses_of(task: str, table: pa.Table, baseline_counts: BaselineCounts | None = None) -> dict[str, Analysis]:
    data = evaluation_data(table, {**METADATA, "task": task}, baseline_counts or BaselineCounts())
    return {analysis.name: analysis for analysis in adapter_of(task).analyse(data)}


def within(analyses: dict[str, Analysis], name: str, tolerance: float) -> float:
    table = analyses["properties_by_tolerance"]
    return float(table.column(name)[table.column("tolerance").index(tolerance)])


def test_wrong_eigenvalues() -> None:
    def change(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x[:200, 0] *= 1.4
        return x

    analyses = analyses_of("eigenvectors", predictions("eigenvectors", change))
    assert within(analyses, "eigenvalue_error", 0.1) == pytest.approx(400 / 600)
    assert within(analyses, "error_l1", 0.1) == pytest.approx(400 / 600)
    assert within(analyses, "unit_norm_error", 0.02) == within(analyses, "max_cosine", 0.02) == 1


def test_wrong_norms() -> None:
    def change(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x[:150, 1:, 2] *= 1.3  # one column of V
        return x

    analyses = analyses_of("eigenvectors", predictions("eigenvectors", change))
    assert within(analyses, "unit_norm_error", 0.2) == pytest.approx(450 / 600)
    assert within(analyses, "eigenvalue_error", 0.01) == within(analyses, "max_cosine", 0.02) == 1


@pytest.mark.parametrize(("i", "j"), [(0, 1), (0, 3), (1, 3)])
def test_any_pair_of_vectors_that_is_not_orthogonal(i: int, j: int) -> None:
    def change(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mixed = x[:100, 1:, j] + 0.6 * x[:100, 1:, i]
        x[:100, 1:, j] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
        return x

    analyses = analyses_of("eigenvectors", predictions("eigenvectors", change))
    assert within(analyses, "max_cosine", 0.25) == pytest.approx(500 / 600)
    assert within(analyses, "eigenvalue_error", 0.01) == 1
    comparison = analyses["correct_and_incorrect"]
    by_measure = {row[0]: dict(zip(comparison.columns, row, strict=True)) for row in comparison.rows}
    correct, incorrect = (by_measure[f"condition number of the predicted V, {w}"] for w in ("correct", "incorrect"))
    assert correct["max"] < 1.1 < incorrect["min"]
    assert (correct["predictions"], incorrect["predictions"]) == (500, 100)
    cosine = 0.6 / np.sqrt(1.36)
    assert incorrect["p50"] == pytest.approx(np.sqrt((1 + cosine) / (1 - cosine)), rel=0.02)


def test_diagnostics_match_their_definitions() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20, 3, 3))
    a += np.swapaxes(a, 1, 2)
    x = matrix_task("eigenvectors").solve(Matrices.from_dense(a)).solutions.dense()
    h = x + rng.normal(size=x.shape) * 0.1
    measures = diagnostics("eigenvectors", *(Matrices.from_dense(m) for m in (a, x, h)))
    for k in range(20):
        v = h[k, 1:]
        values = np.linalg.eigvalsh(a[k])
        assert measures["eigenvalue_error"][k] == pytest.approx(
            np.abs(np.sort(h[k, 0]) - values).sum() / np.abs(values).sum()
        )
        norms = [np.linalg.norm(w) for w in (*v, *v.T)]
        assert measures["unit_norm_error"][k] == pytest.approx(max(abs(n - 1) for n in norms))
        pairs = [(0, 1), (0, 2), (1, 2)]
        cosines = [abs(v[:, i] @ v[:, j]) / np.linalg.norm(v[:, i]) / np.linalg.norm(v[:, j]) for i, j in pairs]
        assert measures["max_cosine"][k] == pytest.approx(max(cosines))
        assert measures["vectors_condition"][k] == pytest.approx(np.linalg.cond(v))
    zeros = diagnostics("eigenvectors", *(Matrices.from_dense(m) for m in (a, x, np.zeros_like(x))))
    assert (zeros["vectors_condition"] == np.inf).all() and (zeros["max_cosine"] == 1).all()
    m = rng.normal(size=(10, 3, 2))
    y = matrix_task("svd").solve(Matrices.from_dense(m)).solutions.dense()
    of_references = diagnostics("svd", *(Matrices.from_dense(z) for z in (m, y, y)))
    for name, values in of_references.items():
        np.testing.assert_allclose(values, 1 if "condition" in name else 0, atol=1e-6)


def test_failures_of_ill_conditioned_problems_are_discriminated() -> None:
    ill = np.zeros(COUNT, dtype=bool)

    def change(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        condition = np.linalg.cond(x)
        ill[:] = condition > np.quantile(condition, 0.8)
        x[ill] *= 1.5
        return x

    table = predictions("inverse", change)
    analyses = analyses_of("inverse", table)
    first = dict(
        zip(analyses["failure_discriminability"].columns, analyses["failure_discriminability"].rows[0], strict=True)
    )
    assert first["covariate"] == "condition number of the problem"
    assert first["failure_values"] == "larger" and first["auc"] > 0.95 and first["p_value"] < 1e-10
    condition, failed = table["condition_number"].to_numpy(), ~table["passed"].to_numpy(zero_copy_only=False)
    ks = stats.ks_2samp(condition[failed], condition[~failed], method="asymp")
    assert first["ks_statistic"] == pytest.approx(ks.statistic)
    bins = analyses["by_condition_number"]
    assert sum(bins.column("problems")) == COUNT
    assert bins.column("accuracy")[-1] == bins.column("accuracy")[-2] == 0
    assert bins.column("accuracy")[0] == 1
    for row in bins.rows:
        inside = (condition >= row[0]) & (condition <= row[1])
        assert (inside.sum(), (~failed)[inside].mean()) == (row[3], pytest.approx(row[4]))


def test_random_failures_are_not_discriminated() -> None:
    def change(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x[rng.random(len(x)) < 0.3] *= -1
        return x

    analyses = analyses_of("add", predictions("add", change))
    for row in analyses["failure_discriminability"].rows:
        assert row[5] > 1e-3 and 0.4 < row[1] < 0.6
    assert analyses["outcomes"].column("proportion")[2] == pytest.approx(0.3, abs=0.06)


def test_accuracy_by_tolerance_and_norm() -> None:
    table = predictions("add", lambda x, rng: x * (1 + 0.1 * rng.normal(size=x.shape)))
    passed = {"reference": list(range(9)), "best_representable": [9] * 9}
    analysis = analyses_of("add", table, BaselineCounts(10, passed))["accuracy_by_tolerance"]
    h, x = (np.array(table[name].to_pylist()) for name in ("decoded", "reference"))
    l1 = np.abs(h - x).sum(1) / np.abs(x).sum(1)
    l2 = ((h - x) ** 2).sum(1) / (x**2).sum(1)
    largest = np.abs(h - x).max(1) / np.abs(x).max(1)
    with np.errstate(invalid="ignore"):
        each = np.nan_to_num(np.abs(h - x) / np.abs(x), nan=0.0, posinf=np.inf).max(1)  # 0/0 = 0
    for row in analysis.rows:
        t, p, low, high, p2, pmax, peach, reference, best_representable = row
        limit = t * (1 + 1e-12)  # rounding of an error does not decide
        assert (p, p2, pmax, peach) == tuple((error <= limit).mean() for error in (l1, l2, largest, each))
        interval = stats.binomtest(int((l1 <= limit).sum()), COUNT).proportion_ci(method="wilson")
        assert (low, high) == (pytest.approx(interval.low, abs=1e-12), pytest.approx(interval.high, abs=1e-12))
        assert (reference, best_representable) == (TOLERANCE_LEVELS.index(t) / 10, 0.9)


def test_calibration_error_of_calibrated_and_uncalibrated_models() -> None:
    rng = np.random.default_rng(3)
    table = predictions("add", lambda x, rng: x)
    p = rng.uniform(0.05, 1, COUNT)
    columns = {"log_probability": pa.array(np.log(p))}
    calibrated = rng.random(COUNT) < p
    for passed, small in ((calibrated, True), (np.ones(COUNT, dtype=bool), False)):
        changed = table
        for name, values in {**columns, "passed": pa.array(passed)}.items():
            changed = changed.set_column(changed.column_names.index(name), name, values)
        analysis = analyses_of("add", changed)["calibration"]
        gap = sum(
            n * abs(q - a)
            for n, q, a in zip(*map(analysis.column, ("problems", "probability", "accuracy")), strict=True)
        )
        assert (gap / COUNT < 0.1) == small
        assert f"{100 * gap / COUNT:.2f} percentage points" in analysis.note
        assert analysis.chart is not None and (analysis.chart.x, analysis.chart.diagonal) == ("probability", True)


def test_calibration_with_small_probabilities_uses_log_probability() -> None:
    table = predictions("add", lambda x, rng: x)
    log_p = np.linspace(-30, -4, COUNT)
    changed = table.set_column(table.column_names.index("log_probability"), "log_probability", pa.array(log_p))
    analysis = analyses_of("add", changed)["calibration"]
    assert analysis.chart is not None and (analysis.chart.x, analysis.chart.diagonal) == ("log_probability", False)
    means = analysis.column("log_probability")
    assert all(
        low <= mean <= high
        for low, mean, high in zip(
            analysis.column("log_probability_from"), means, analysis.column("log_probability_to"), strict=True
        )
    )
    assert "All probabilities are small" in analysis.note


def test_accuracy_by_rank() -> None:
    table = predictions("add", lambda x, rng: x)
    rank = np.array([0.0, 1.0, 4.0, np.nan] * 150)
    changed = table.set_column(
        table.column_names.index("correct_rank"), "correct_rank", pa.array(rank, from_pandas=True)
    )
    data = evaluation_data(changed, {**METADATA, "task": "add"}, BaselineCounts())
    (analysis,) = by_rank(dataclasses.replace(data, hypotheses=5))
    accuracy = dict(zip(analysis.column("hypotheses"), analysis.column("accuracy"), strict=True))
    assert accuracy == {1: 0.25, 2: 0.5, 3: 0.5, 5: 0.75}


def test_report_is_built_from_the_predictions_file(tmp_path: Path) -> None:
    table = predictions("eigenvectors", lambda x, rng: x * (1 + 0.03 * rng.normal(size=x.shape)))
    with (tmp_path / "predictions.parquet").open("wb") as file:
        writer = PredictionsWriter(file, {**METADATA, "task": "eigenvectors"})
        writer.append(table)
        writer.close()
    report = build_report(Storage(str(tmp_path)), verbose=True)
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
    assert report.metrics["accuracy"] == table["passed"].to_numpy(zero_copy_only=False).mean()
    assert (
        "the covariate that discriminates failures best" in report.text
        or "no covariate discriminates failures" in report.text
    )
