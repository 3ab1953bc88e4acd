"""Predictions of mixtures: accuracy by task of co-training and by spectrum, and measures that only some tasks have."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.containers.ragged_matrices import SPECTRA
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.tokenizers.matrix_tokenizer import TASK_TOKENS
from mathpipe.datasets.tokenizers.tokenizer import END
from mathpipe.evaluate.failures.failure_dump import read_failures
from mathpipe.evaluate.report.failure_rendering import render_failure
from mathpipe.evaluate.run import evaluate_run


def test_accuracy_by_the_spectrum_of_a_mixture(
    make_data: Callable[..., Path], plan_answers: Any, planned_run: Any, tmp_path: Path
) -> None:
    """Every other problem of the laplace spectrum is answered wrong, and none of the uniform one."""
    data = make_data("eigenvalues", test=200, spectrum=("uniform", "laplace"))
    dataset = open_dataset(data, "test", "P1000", "P1000")
    spectra = np.concatenate([rows.problems.spectra for rows in dataset.chunks()])
    laplace = spectra == SPECTRA.index("laplace")
    wrong = laplace & (np.cumsum(laplace) % 2 == 0)

    def answer(i: int, row: int, tokens: list[int]) -> list[int]:
        return [*tokens[:4], tokens[4] + 3, *tokens[5:]] if wrong[i] else tokens

    load = planned_run(data, plan_answers(dataset, answer))
    result = evaluate_run(tmp_path / "run", verbose=True, load=load)
    failures = list(read_failures(str(result.failures)))
    assert len(failures) == wrong.sum() and {failure.spectrum for failure in failures} == {"laplace"}
    assert render_failure(failures[0])[0].startswith(f"row {failures[0].row}, laplace, ")
    page = Path(result.report).read_text()
    assert any(f">row {failure.row}</a>, laplace, " in page for failure in failures)
    column = pq.read_table(result.predictions)["spectrum"].to_pylist()
    assert column == np.array(SPECTRA)[spectra].tolist()
    with (Path(result.directory) / "analyses" / "by_spectrum.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["spectrum"], int(row["problems"])) for row in rows] == [
        ("laplace", int(laplace.sum())),
        ("uniform", int((~laplace).sum())),
    ]
    assert float(rows[0]["accuracy"]) == pytest.approx(1 - wrong.sum() / laplace.sum()) and rows[1]["accuracy"] == "1.0"


def test_accuracy_by_task_in_co_training(
    make_data: Callable[..., Path], plan_answers: Any, planned_run: Any, tmp_path: Path
) -> None:
    """Inverses are answered wrong, all transpositions correctly."""
    data = make_data("cotraining", test=200, task_tokens="TI")
    dataset = open_dataset(data, "test", "P1000", "P1000")
    task_ids = np.concatenate([rows.problems.task_ids for rows in dataset.chunks()])
    inverse = task_ids == TASK_TOKENS.index("I")

    def answer(i: int, row: int, tokens: list[int]) -> list[int]:
        return [*tokens[:5], tokens[5] + 3, *tokens[6:]] if inverse[i] else tokens

    load = planned_run(data, plan_answers(dataset, answer))
    result = evaluate_run(tmp_path / "run", verbose=True, load=load)
    failures = list(read_failures(str(result.failures)))
    assert [failure.row for failure in failures] == np.flatnonzero(inverse).tolist()
    for failure in failures:
        assert (failure.task, failure.spectrum, failure.residual_formula) == ("inverse", None, "A H - I")
        np.testing.assert_allclose(failure.residual, failure.problem @ failure.decoded - np.eye(2), atol=1e-9)
    with (Path(result.directory) / "analyses" / "by_task.csv").open() as file:
        rows = [(row["task"], int(row["problems"]), row["accuracy"]) for row in csv.DictReader(file)]
    assert rows == [("inverse", int(inverse.sum()), "0.0"), ("transpose", int((~inverse).sum()), "1.0")]


def test_co_training_with_malformed_eigenvectors(
    make_data: Callable[..., Path], plan_answers: Any, planned_run: Any, tmp_path: Path
) -> None:
    """Every chunk has the column of orthogonality, also where no answer or no problem has this measure."""
    data = make_data("cotraining", test=40, task_tokens="TF")
    dataset = open_dataset(data, "test", "P1000", "P1000")
    task_ids = np.concatenate([rows.problems.task_ids for rows in dataset.chunks()])
    vectors = task_ids == TASK_TOKENS.index("F")
    load = planned_run(data, plan_answers(dataset, lambda i, row, tokens: [END] if vectors[i] else tokens))
    table = pq.read_table(evaluate_run(tmp_path / "run", load=load, chunk_rows=5).predictions)
    assert table["outcome"].to_pylist() == ["malformed" if each else "exact" for each in vectors]
    assert table["orthogonality"].to_pylist() == [None if each else 0.0 for each in vectors]
    assert table["task"].to_pylist() == ["eigenvectors" if each else "transpose" for each in vectors]
