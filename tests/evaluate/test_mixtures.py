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
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, TASK_TOKENS
from mathpipe.evaluate import run as evaluation
from mathpipe.evaluate.failures.failure_dump import read_failures
from mathpipe.evaluate.failures.failure_rendering import render_failure
from mathpipe.evaluate.run import evaluate_run


def test_accuracy_by_the_spectrum_of_a_mixture(
    make_data: Callable[..., Path], plan_answers: Any, planned_run: Any, tmp_path: Path
) -> None:
    """Every other problem drawn by laplace is answered wrong, and none of uniform."""
    data = make_data("eigenvalues", test=200, spectrum=("uniform", "laplace"))
    dataset = open_dataset(data, "test")
    spectra = np.concatenate([rows.problems.spectra for rows in dataset.chunks()])
    laplace = spectra == SPECTRA.index("laplace")
    wrong = laplace & (np.cumsum(laplace) % 2 == 0)

    def answer(i: int, row: int, words: list[int]) -> list[int]:
        return [*words[:4], words[4] + 3, *words[5:]] if wrong[i] else words

    planned_run(data, plan_answers(dataset, answer))
    found = evaluate_run(tmp_path / "run", verbose=True)
    dumped = list(read_failures(str(found.failures)))
    assert len(dumped) == wrong.sum() and {failure.spectrum for failure in dumped} == {"laplace"}
    assert render_failure(dumped[0])[0].startswith(f"row {dumped[0].row}, laplace, ")
    page = Path(found.report).read_text()
    assert any(f">wrong value</span> row {failure.row}, laplace, " in page for failure in dumped)
    column = pq.read_table(found.predictions)["spectrum"].to_pylist()
    assert column == np.array(SPECTRA)[spectra].tolist()
    with (Path(found.directory) / "analyses" / "by_spectrum.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["spectrum"], int(row["problems"])) for row in rows] == [
        ("laplace", int(laplace.sum())),
        ("uniform", int((~laplace).sum())),
    ]
    assert float(rows[0]["accuracy"]) == pytest.approx(1 - wrong.sum() / laplace.sum()) and rows[1]["accuracy"] == "1.0"


def test_accuracy_by_task_in_co_training(
    make_data: Callable[..., Path], plan_answers: Any, planned_run: Any, tmp_path: Path
) -> None:
    """Inverses are answered wrong, all else right."""
    data = make_data("cotraining", test=200, task_tokens="TI")
    dataset = open_dataset(data, "test")
    task_ids = np.concatenate([rows.problems.task_ids for rows in dataset.chunks()])
    inverse = task_ids == TASK_TOKENS.index("I")

    def answer(i: int, row: int, words: list[int]) -> list[int]:
        return [*words[:5], words[5] + 3, *words[6:]] if inverse[i] else words

    planned_run(data, plan_answers(dataset, answer))
    found = evaluate_run(tmp_path / "run", verbose=True)
    dumped = list(read_failures(str(found.failures)))
    assert [failure.row for failure in dumped] == np.flatnonzero(inverse).tolist()
    for failure in dumped:
        assert (failure.task, failure.spectrum, failure.residual_formula) == ("inverse", None, "A H - I")
        np.testing.assert_allclose(failure.residual, failure.problem @ failure.decoded - np.eye(2), atol=1e-9)
    with (Path(found.directory) / "analyses" / "by_task.csv").open() as file:
        rows = [(row["task"], int(row["problems"]), row["accuracy"]) for row in csv.DictReader(file)]
    assert rows == [("inverse", int(inverse.sum()), "0.0"), ("transpose", int((~inverse).sum()), "1.0")]


def test_co_training_whose_eigenvectors_are_all_unreadable(
    make_data: Callable[..., Path], plan_answers: Any, planned_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The orthogonality of eigenvectors is a measure of the whole, also where no answer, or no problem of a chunk, has any."""
    monkeypatch.setattr(evaluation, "_CHUNK_ROWS", 5)
    data = make_data("cotraining", test=40, task_tokens="TF")
    dataset = open_dataset(data, "test")
    task_ids = np.concatenate([rows.problems.task_ids for rows in dataset.chunks()])
    vectors = task_ids == TASK_TOKENS.index("F")
    planned_run(data, plan_answers(dataset, lambda i, row, words: [END] if vectors[i] else words))
    table = pq.read_table(evaluate_run(tmp_path / "run").predictions)
    assert table["outcome"].to_pylist() == ["malformed" if each else "exact" for each in vectors]
    assert table["orthogonality"].to_pylist() == [None if each else 0.0 for each in vectors]
    assert table["task"].to_pylist() == ["eigenvectors" if each else "transpose" for each in vectors]
