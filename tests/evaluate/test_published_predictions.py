"""Published failure files: parsed without evaluating anything, verified again, and reported like any evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.number_encodings import ENCODINGS
from mathpipe.evaluate.predictions import predictions_metadata
from mathpipe.evaluate.published_predictions import (
    detect_encoding,
    import_published,
    parse_matrix,
    parse_tokens,
    read_published,
)
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks.task_registry import matrix_task

P1000 = MatrixTokenizer.named("P1000")
CORRECT = "['V1', 'V2', '+', '400', 'E-2', '+', '600', 'E-2']"
WRONG = "['V1', 'V2', '+', '400', 'E-2', '-', '600', 'E-2']"
FILE = f"""Equation 0 (0/3)
src=[[1. 2. 3. 4.]]
tgt={CORRECT}
0 -1.234e-02 {WRONG}
1 -2.5e+00 {CORRECT}

Equation 7 (1/3)
src=[[ 1.   2. ]
 [-3.5  4. ]]
tgt=[[ 3.  ]
 [ 0.5 ]]
1 ['V2', 'V1', '+', '300', 'E-2', '+', '500', 'E-3']

Equation 9 (2/3)
src=
[[1. 2. 3. 4.]]
tgt=[[4. 6.]]

Equation 12 (3/3)
src=[[1. 2. 3. 4.]]
tgt={CORRECT}
0 -5.0e-01 ['V1', '__import__("os")', '+']
"""


def test_records_are_parsed(tmp_path: Path) -> None:
    path = tmp_path / "add.pred"
    path.write_text(FILE)
    a, b, c, d = read_published(path)
    assert a.problem.tolist() == [[1, 2, 3, 4]] and a.reference == parse_tokens(CORRECT)
    assert [(v, s) for v, s, _ in a.hypotheses] == [(False, -0.01234), (True, -2.5)]
    assert b.problem.tolist() == [[1, 2], [-3.5, 4]] and b.reference.tolist() == [[3], [0.5]]  # type: ignore[union-attr]
    assert b.hypotheses[0][0] and np.isnan(b.hypotheses[0][1])
    assert c.problem.tolist() == [[1, 2, 3, 4]] and not c.hypotheses
    assert d.hypotheses[0][2] == ["V1", '__import__("os")', "+"]
    assert detect_encoding([a, b, c, d], tuple(ENCODINGS)) == "P1000"


def test_published_predictions_are_verified_again(tmp_path: Path) -> None:
    path = tmp_path / "add.pred"
    path.write_text(FILE)
    report = import_published(path, "add", str(tmp_path / "out"))
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert table.select(["row", "rank", "outcome", "published_correct"]).to_pylist() == [
        {"row": 0, "rank": 0, "outcome": "wrong_value", "published_correct": False},
        {"row": 0, "rank": 1, "outcome": "exact", "published_correct": True},
        {"row": 7, "rank": 0, "outcome": "exact", "published_correct": True},
        {"row": 9, "rank": 0, "outcome": "exact", "published_correct": True},
        {"row": 12, "rank": 0, "outcome": "malformed", "published_correct": False},
    ]
    assert table["correct_rank"].to_pylist() == [1, None, 0, 0, None]
    assert table["matches_reference"].to_pylist() == [False, True, True, True, False]
    assert table["evidence"].null_count == 5  # an error test in floating point proves nothing
    assert report.metrics["accuracy"] == 0.5 and report.metrics["accuracy_any"] == 0.75
    outcomes = next(a for a in report.analyses if a.name == "published_outcomes")
    assert [row[1:] for row in outcomes.rows] == [[2, 2, 0], [2, 0, 2]]
    assert predictions_metadata(report.report.replace("report.html", "predictions.parquet"))["split"] == "published"
    assert [f.row for f in report.worst] == [12, 0]
    assert json.loads((tmp_path / "out" / "analyses" / "analyses.json").read_text())["metrics"] == report.metrics
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["accuracy"] == 0.5


def test_published_eigenvectors(tmp_path: Path) -> None:
    """A file in the published format with known defects: a quarter of the answers have a wrong norm."""
    rng = np.random.default_rng(0)
    a = matrix_task("eigenvectors").sample(rng, 200, MatrixSpec())
    x = matrix_task("eigenvectors").solve(a).solutions.dense().copy()
    x[:50, 1:, 0] *= 1.2
    tokens, _ = P1000.encode(Matrices.from_dense(x))
    references, _ = P1000.encode(matrix_task("eigenvectors").solve(a).solutions)
    with (tmp_path / "f.pred").open("w") as file:
        for k in range(200):
            predicted, expected = (P1000.ids_to_tokens(t[k]) for t in (tokens, references))
            with np.printoptions(precision=12):
                file.write(
                    f"Equation {k} ({k}/200)\nsrc={a[k]}\ntgt={expected}\n{int(k >= 50)} -1.0e-02 {predicted}\n\n"
                )
    report = import_published(tmp_path / "f.pred", "eigenvectors", str(tmp_path / "out"))
    table = next(t for t in report.analyses if t.name == "properties_by_tolerance")
    at = table.column("tolerance").index(0.1)
    assert table.column("unit_norm_error")[at] == 0.75
    assert table.column("eigenvalue_error")[at] == table.column("max_cosine")[at] == 1
    assert report.metrics["accuracy"] == 0.75


@pytest.mark.parametrize(
    "text", ["[1, 2]", "['a' 'b']", "['a', b]", "['a'", "__import__('os')", "['a\\'b']", "['a'] + ['b']", "[['a']]", ""]
)
def test_only_lists_of_quoted_tokens_are_parsed(text: str) -> None:
    with pytest.raises(ValueError, match="not a list"):
        parse_tokens(text)
    assert parse_tokens("[]") == [] and parse_tokens("['a', '+',]") == ["a", "+"]


@pytest.mark.parametrize("text", ["[[1 2]\n [3]]", "[[1 x]]", "[]", "[[]]", "1 2", "[[1 ...  2]]", "[[1]] exit"])
def test_only_matrices_are_parsed(text: str) -> None:
    with pytest.raises(ValueError, match="not a "):
        parse_matrix(text)
    assert parse_matrix("[[ 1.e+00 -.5]\n [ 3. 4e-2]]").tolist() == [[1, -0.5], [3, 0.04]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "line 1: not a published failure"),
        ("Equation 1 (0/1)\nsrc=[[1]]\n", "tgt= is missing"),
        ("Equation 1 (0/1)\nsrc=[[1]]\ntgt=['V1']\n0 -1 ['V1']\nmore\n", "more"),
        ("\n\nEquation 1 (0/1)\nsrc=[[a]]\ntgt=[[1]]\n", "line 3"),
        ("Equation 1 (0/1)\nsrc=[[1]]\ntgt=['V1', 'V1', 'Q1']\n", "in no known encoding"),
        ("", "in no known encoding"),
    ],
)
def test_other_files_raise_user_errors(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.pred").write_text(text)
    with pytest.raises(UserError, match=message):
        import_published(tmp_path / "x.pred", "add", str(tmp_path / "out"))
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_tasks_of_other_types_have_no_published_files(tmp_path: Path) -> None:
    (tmp_path / "x.pred").write_text(FILE)
    with pytest.raises(UserError, match="matrix tasks only"):
        import_published(tmp_path / "x.pred", "integration-bwd", str(tmp_path / "out"))


def test_odd_records_are_counted_and_named(tmp_path: Path) -> None:
    numpy_2 = CORRECT.replace("'V1'", "np.str_('V1')")
    odd = [
        f"Equation 20 (0/1)\nsrc=[[nan 2. 3. 4.]]\ntgt={CORRECT}\n0 -1.0 {CORRECT}\n",
        f"Equation 21 (0/1)\nsrc=[[1. ... 4.]]\ntgt={CORRECT}\n0 -1.0 {CORRECT}\n",
        f"Equation 22 (0/1)\nsrc=[[1. 2. 3. 4.]]\ntgt={CORRECT[:-8]}]\n0 -1.0 {CORRECT}\n",
        "truncat",
    ]
    good = f"Equation 30 (0/1)\nsrc=[[1. 2. 3. 4.]]\ntgt={numpy_2}\n1 -1.0 {numpy_2}\n"
    path, logged = tmp_path / "add.pred", list[str]()
    path.write_text("\ufeff" + "\n".join([FILE, *odd[:3], good, odd[3]]), encoding="utf-8")
    report = import_published(path, "add", str(tmp_path / "out"), log=logged.append)
    rows = pq.read_table(tmp_path / "out" / "predictions.parquet").filter(pc.field("rank") == 0).column("row")
    assert rows.to_pylist() == [0, 7, 9, 12, 30] and report.metrics["n"] == 5
    assert "line 24" in logged[0] and "nan" in logged[0] and "..." in logged[1] and "truncat" in logged[3]
    assert "equation 22" in logged[2] and logged[-1] == "4 of 9 records were left out"
