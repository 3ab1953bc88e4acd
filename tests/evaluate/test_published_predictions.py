"""Published failure files are read without evaluating anything, verified anew, and told of like any evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.predictions import predictions_metadata
from mathpipe.evaluate.published_predictions import (
    detect_encoding,
    import_published,
    parse_matrix,
    parse_words,
    read_published,
)
from mathpipe.generate.spec import MatrixSpec
from mathpipe.generate.tasks.registry import matrix_task

P1000 = MatrixTokenizer.named("P1000")
RIGHT = "['V1', 'V2', '+', '400', 'E-2', '+', '600', 'E-2']"
WRONG = "['V1', 'V2', '+', '400', 'E-2', '-', '600', 'E-2']"
FILE = f"""Equation 0 (0/3)
src=[[1. 2. 3. 4.]]
tgt={RIGHT}
0 -1.234e-02 {WRONG}
1 -2.5e+00 {RIGHT}

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
tgt={RIGHT}
0 -5.0e-01 ['V1', '__import__("os")', '+']
"""


def test_records_are_read(tmp_path: Path) -> None:
    path = tmp_path / "add.pred"
    path.write_text(FILE)
    a, b, c, d = read_published(path)
    assert a.problem.tolist() == [[1, 2, 3, 4]] and a.reference == parse_words(RIGHT)
    assert [(v, s) for v, s, _ in a.hypotheses] == [(False, -0.01234), (True, -2.5)]
    assert b.problem.tolist() == [[1, 2], [-3.5, 4]] and b.reference.tolist() == [[3], [0.5]]  # type: ignore[union-attr]
    assert b.hypotheses[0][0] and np.isnan(b.hypotheses[0][1])
    assert c.problem.tolist() == [[1, 2, 3, 4]] and not c.hypotheses
    assert d.hypotheses[0][2] == ["V1", '__import__("os")', "+"]
    assert detect_encoding([a, b, c, d]) == "P1000"


def test_what_was_published_is_verified_anew(tmp_path: Path) -> None:
    path = tmp_path / "add.pred"
    path.write_text(FILE)
    told = import_published(path, "add", str(tmp_path / "out"))
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert table.select(["row", "rank", "outcome", "published_correct"]).to_pylist() == [
        {"row": 0, "rank": 0, "outcome": "wrong_value", "published_correct": False},
        {"row": 0, "rank": 1, "outcome": "exact", "published_correct": True},
        {"row": 7, "rank": 0, "outcome": "exact", "published_correct": True},
        {"row": 9, "rank": 0, "outcome": "exact", "published_correct": True},
        {"row": 12, "rank": 0, "outcome": "malformed", "published_correct": False},
    ]
    assert table["correct_rank"].to_pylist() == [1, None, 0, 0, None]
    assert told.metrics["accuracy"] == 0.5 and told.metrics["accuracy_any"] == 0.75
    verdicts = next(a for a in told.analyses if a.name == "published_outcomes")
    assert [row[1:] for row in verdicts.rows] == [[2, 2, 0], [2, 0, 2]]
    assert predictions_metadata(told.report.replace("report.html", "predictions.parquet"))["split"] == "published"
    assert [f.row for f in told.worst] == [12, 0]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == told.metrics


def test_many_eigenvectors_come_back_as_they_were_written(tmp_path: Path) -> None:
    """A file in the published format, written here from known answers: their analyses come out as they must."""
    rng = np.random.default_rng(0)
    a = matrix_task("eigenvectors").sample(rng, 200, MatrixSpec())
    x = matrix_task("eigenvectors").solve(a).solutions.dense().copy()
    x[:50, 1:, 0] *= 1.2  # a norm off in a quarter of the answers
    tokens, _ = P1000.encode(Matrices.from_dense(x))
    truth, _ = P1000.encode(matrix_task("eigenvectors").solve(a).solutions)
    with (tmp_path / "f.pred").open("w") as file:
        for k in range(200):
            said, wanted = (P1000.ids_to_tokens(t[k]) for t in (tokens, truth))
            with np.printoptions(precision=12):
                file.write(f"Equation {k} ({k}/200)\nsrc={a[k]}\ntgt={wanted}\n{int(k >= 50)} -1.0e-02 {said}\n\n")
    told = import_published(tmp_path / "f.pred", "eigenvectors", str(tmp_path / "out"))
    table = next(t for t in told.analyses if t.name == "properties_by_tolerance")
    at = table.column("tolerance").index(0.1)
    assert table.column("unit_norm_error")[at] == 0.75
    assert table.column("eigenvalue_error")[at] == table.column("max_cosine")[at] == 1
    assert told.metrics["accuracy"] == 0.75


@pytest.mark.parametrize(
    "text", ["[1, 2]", "['a' 'b']", "['a', b]", "['a'", "__import__('os')", "['a\\'b']", "['a'] + ['b']", "[['a']]", ""]
)
def test_what_is_no_list_of_quoted_words_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no list"):
        parse_words(text)
    assert parse_words("[]") == [] and parse_words("['a', '+',]") == ["a", "+"]


@pytest.mark.parametrize("text", ["[[1 2]\n [3]]", "[[1 x]]", "[]", "[[]]", "1 2", "[[1 ...  2]]", "[[1]] exit"])
def test_what_is_no_matrix_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no "):
        parse_matrix(text)
    assert parse_matrix("[[ 1.e+00 -.5]\n [ 3. 4e-2]]").tolist() == [[1, -0.5], [3, 0.04]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nothing", "line 1: no published failure"),
        ("Equation 1 (0/1)\nsrc=[[1]]\n", "tgt= is missing"),
        ("Equation 1 (0/1)\nsrc=[[1]]\ntgt=['V1']\n0 -1 ['V1']\nmore\n", "more"),
        ("\n\nEquation 1 (0/1)\nsrc=[[a]]\ntgt=[[1]]\n", "line 3"),
        ("Equation 1 (0/1)\nsrc=[[1]]\ntgt=['V1', 'V1', 'Q1']\n", "in no known encoding"),
        ("", "in no known encoding"),
    ],
)
def test_other_files_are_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.pred").write_text(text)
    with pytest.raises(UserError, match=words):
        import_published(tmp_path / "x.pred", "add", str(tmp_path / "out"))
    assert not (tmp_path / "out" / "metrics.json").exists()
