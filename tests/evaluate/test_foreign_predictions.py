"""Predictions of another version, which lack a column or an entry of the footer, give an error that names the file."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.tokenizers.integer_tokenizer import IntegerTokenizer
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.adapters.adapter_registry import adapter_of_spec
from mathpipe.evaluate.build_report import build_report, iter_failures
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.evaluation_directory import PREDICTIONS
from mathpipe.evaluate.predictions import METADATA, PredictionsWriter, expect_predictions
from mathpipe.evaluate.score.scoring import append_end
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks.task_registry import get_task

COUNT = 12


def write_predictions(folder: Path, name: str) -> Path:
    """An evaluation in which every other answer is right."""
    task: Any = get_task(name)
    rng = np.random.default_rng(0)
    source: Any
    target: Any
    rows: Any
    if task.problem_type == "integers":
        problems, solutions = task.sample_solved(rng, COUNT, task.resolve(task.default_spec))
        rows = TokenExamples(np.arange(COUNT), problems, solutions, task.classes(problems, solutions))
        source = IntegerTokenizer.named("base10", task.problem_layout)
        target = IntegerTokenizer.named("base10", task.solution_layout)
    else:
        problems = task.sample(rng, COUNT, MatrixSpec(min_dim=2, max_dim=2))
        rows = MatrixExamples(np.arange(COUNT), problems, task.solve(problems).solutions)
        source = target = MatrixTokenizer.named("P1000")
    answers = rows.solutions.take(np.arange(COUNT) // 2)
    decoded = Hypotheses(append_end(*target.encode(answers)), -np.arange(1.0, COUNT + 1))
    metadata = {"run": "run", "task": name, "split": "test", "rows": COUNT, "outcomes": list(task.outcomes)}
    adapter = adapter_of_spec(metadata)
    with Storage(str(folder)).write(PREDICTIONS) as file:
        writer = PredictionsWriter(file, metadata)
        writer.append(adapter.table(adapter.score(target, rows, decoded), "test", source, target))
        writer.close()
    build_report(Storage(str(folder)))
    return folder / PREDICTIONS


def read_everything(path: Path) -> None:
    storage = Storage(str(path.parent))
    build_report(storage, verbose=True)
    assert len(list(iter_failures(storage, {"task": json.loads(pq.read_schema(path).metadata[METADATA])["task"]})))


@pytest.mark.parametrize("name", ["gcd", "inverse"])
def test_each_missing_column_is_named(tmp_path: Path, name: str) -> None:
    path = write_predictions(tmp_path / "complete", name)
    table = pq.read_table(path)
    refused = set()
    for column in table.column_names:
        other = tmp_path / column / PREDICTIONS
        other.parent.mkdir()
        pq.write_table(table.drop_columns([column]), other)
        try:
            read_everything(other)
        except UserError as error:
            refused.add(column)
            assert str(other) in str(error) and column in str(error) and "mathpipe eval" in str(error)
    assert {"row", "outcome", "passed"} <= refused
    assert name != "gcd" or {"problem_value", "reference_value", "decoded_value"} <= refused


def test_a_missing_entry_of_the_footer_is_named(tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "complete", "gcd")
    table = pq.read_table(path)
    metadata = json.loads(table.schema.metadata[METADATA])
    del metadata["outcomes"]
    pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(metadata).encode()}), path)
    with pytest.raises(UserError, match="entry outcomes"):
        read_everything(path)


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(KeyError, match="typo"), expect_predictions("file"):
        raise KeyError("typo")
    with contextlib.suppress(UserError), expect_predictions("file"):
        raise KeyError("outcomes")
