"""Comparison of evaluations: unique names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.io.storage import Storage
from mathpipe.evaluate.compare.comparison_page import comparison_page
from mathpipe.evaluate.compare.evaluations import comparison_tables, disambiguate, load_evaluations
from mathpipe.evaluate.evaluation_directory import ANALYSES_FILE, METRICS, PREDICTIONS
from mathpipe.evaluate.predictions import METADATA

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Files of an evaluation, ``write("runs/a/evaluation/test", "test", correct=3, of=10)``; returns its directory."""

    def make(path: str, split: str, correct: int = 5, of: int = 10, decoding: str = "greedy", **metadata: Any) -> str:
        storage = Storage(str(tmp_path / path))
        footer = {"run": "runs/elsewhere", "split": split, "task": "add", "spec": {}, **metadata}
        with storage.write(PREDICTIONS) as file:
            pq.write_table(pa.table({}).replace_schema_metadata({METADATA: json.dumps(footer)}), file)
        metrics = {
            "task": "add",
            "decoding": decoding,
            "n": of,
            "accuracy": correct / of,
            "criterion": "error within 5 %",
            "accuracy_interval": [0.0, 1.0],
            "accuracy_published": correct / of,
            "accuracy_any": correct / of,
            "outcomes": {},
        }
        storage.write_text(METRICS, json.dumps(metrics))
        storage.write_text(ANALYSES_FILE, json.dumps({"metrics": metrics, "analyses": []}))
        return str(tmp_path / path)

    return make


def test_repeated_names_get_suffixes(write: Write) -> None:
    evaluations = load_evaluations(
        [
            write("runs/a/evaluation/test.beam-5", "test", decoding="beam 5"),
            write("runs/a/evaluation/test", "test"),
            write("runs/a/evaluation/test-best", "test", checkpoint="best"),
            write("runs/a/evaluation/valid", "valid"),
            write("runs/b/evaluation/testing", "test"),
            write("runs/a/evaluation/testing", "test"),
        ]
    )
    assert [evaluation.name for evaluation in evaluations] == [
        *("a, test, beam-5", "a, test", "a, test, best", "a, valid", "b, test", "a, test, testing")
    ]
    assert [evaluation.settings for evaluation in evaluations][:4] == [
        "beam 5",
        "greedy",
        "greedy, checkpoint best",
        "greedy",
    ]
    side_by_side, _ = comparison_tables(evaluations)
    assert len({row[0] for row in side_by_side.rows}) == 6
    assert [row[side_by_side.columns.index("checkpoint")] for row in side_by_side.rows] == [
        *(None, None, "best", None, None, None)
    ]
    page = comparison_page(evaluations)
    assert all(f"<span>{name}</span>" in page for name in ("a, test, beam-5", "a, test", "b, test"))


def test_runs_of_equal_name_are_named_by_their_path(write: Write) -> None:
    directories = ["x/runs/a/evaluation/test", "y/runs/a/evaluation/test", "y/runs/b/evaluation/test"]
    assert [
        evaluation.name for evaluation in load_evaluations([write(directory, "test") for directory in directories])
    ] == [
        "x/runs/a, test",
        "y/runs/a, test",
        "b, test",
    ]


def test_evaluations_outside_a_run_are_named_by_their_metadata(write: Write) -> None:
    directories = ["here/new", "there/new", "there/newer"]
    first, second, third = load_evaluations([write(directory, "test", run="runs/a") for directory in directories])
    assert third.name == "a, test, newer"
    assert (first.name, second.name) == (f"a, test, new, {first.directory}", f"a, test, new, {second.directory}")
    (published,) = load_evaluations([write("runs/published/evaluation", "published", run="inverse.pred")])
    assert published.name == "inverse.pred, published"


@pytest.mark.parametrize(
    ("names", "more", "expected"),
    [
        (["a", "b"], [["x", "y"]], ["a", "b"]),
        (["a", "a"], [["x", "y"]], ["a, x", "a, y"]),
        (["a", "a"], [["x", "x"], ["1", "2"]], ["a, 1", "a, 2"]),
        (["a", "a", "a", "b"], [["", "x", "x", "x"], ["1", "2", "3", "4"]], ["a", "a, x, 2", "a, x, 3", "b"]),
        (["a", "a"], [["x", "x"]], ["a", "a"]),
    ],
)
def test_disambiguate(names: list[str], more: list[list[str]], expected: list[str]) -> None:
    assert disambiguate(names, *more) == expected
