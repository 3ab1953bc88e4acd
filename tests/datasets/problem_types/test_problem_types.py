"""Problem types: from the stored spec to formats and tokenizers, and how examples are shown and exported."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences, Sequences
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.export_formats import export_text
from mathpipe.datasets.expressions.prefix import text_to_ids
from mathpipe.datasets.format.example_formats import ExampleFormat, IntegerFormat, MatrixFormat, TokenFormat
from mathpipe.datasets.format.examples import Examples
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.problem_types.type_registry import PROBLEM_TYPES, problem_type_of
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.sequence_spec import BitSpec

SORTING: dict[str, Any] = {"task": "sort", "problems": {"kind": "sequences", "alphabet": ["a", "b", "_"]}}
MATRICES: dict[str, Any] = {"task": "inverse", "chunk_rows": 50, "problems": {"round_problems": True, "noise": 0.1}}
EXPRESSIONS: dict[str, Any] = {"task": "ode1", "problems": {"kind": "expressions"}}
PAIRS: dict[str, Any] = {
    "task": "pairs",
    "problems": {
        "kind": "integers",
        "problem_layout": "[(int, int)]",
        "solution_layout": "int",
        "solution_range": [0, 9],
    },
}
ONE = np.array([7])


def sequences(*ids: bytes) -> Sequences:
    return Sequences.from_list(list(ids))


NOISY = MatrixExamples(
    ONE, Matrices.from_list([[[1.5, 2]]]), Matrices.from_list([[[-1e-7]]]), Matrices.from_list([[[1, 2]]])
)
FORMULA = TokenExamples(
    ONE,
    sequences(text_to_ids("pow x INT+ 2")),
    sequences(text_to_ids("mul INT+ 2 x")),
    {"operators": np.array([4], dtype=np.int16)},
)
EDGES = TokenExamples(
    ONE, IntegerSequences.from_list([[2, 0, 1, 1, -2]]), IntegerSequences.from_list([[5]]), {"class": np.array([5])}
)
EXAMPLE = TokenExamples(ONE, sequences(b"\x01\x00\x02"), sequences(b"\x00\x01"))


@pytest.mark.parametrize(
    ("spec", "name", "expected"),
    [
        (MATRICES, "matrices", MatrixFormat(50, noisy=True)),
        ({**MATRICES, "task": "cotraining"}, "matrices", MatrixFormat(50, noisy=True, has_task_tokens=True)),
        (EXPRESSIONS, "expressions", TokenFormat()),
        (
            {"task": "ode1", "problems": {"kind": "imported", "problem_type": "expressions"}},
            "expressions",
            TokenFormat(),
        ),
        (SORTING, "sequences", TokenFormat(vocabulary=("a", "b", "_"))),
        (PAIRS, "integers", IntegerFormat()),
    ],
)
def test_spec_determines_type_and_format(spec: dict[str, Any], name: str, expected: ExampleFormat) -> None:
    problem_type = problem_type_of(spec)
    assert problem_type is PROBLEM_TYPES[name] and problem_type.example_format(spec) == expected


def test_unknown_type_is_an_error() -> None:
    with pytest.raises(UserError, match="unknown type 'graphs'"):
        problem_type_of({"problems": {"kind": "graphs"}})


def test_tokenizers_follow_the_spec() -> None:
    source, target = problem_type_of(MATRICES).tokenizers(MATRICES, "P10", "FP15")
    assert (source.name, target.name) == ("P10", "FP15") and target.published_extras
    source, _ = problem_type_of(SORTING).tokenizers(SORTING)
    assert source.vocabulary == ("<s>", "<pad>", "a", "b", "_") and source.format.solution_length is None
    source, target = problem_type_of(PAIRS).tokenizers(PAIRS)
    assert (source.name, target.name) == ("base1000", "symbol") and target.vocabulary[2:] == tuple("0123456789")
    assert problem_type_of(PAIRS).tokenizers(PAIRS, "base7+brackets")[0].name == "base7+brackets"
    bits = {"problems": {"kind": "sequences", "alphabet": ["0", "1"], "solution_length": 4}}
    assert problem_type_of(bits).tokenizers(bits)[1].format.solution_length == 4


@pytest.mark.parametrize(
    ("spec", "examples", "text", "latex", "values"),
    [
        (
            MATRICES,
            NOISY,
            ["problem      clean problem   solution", "[ 1.5  2 ]   [ 1  2 ]        [ -1e-07 ]"],
            [
                r"problem   \begin{pmatrix} 1.5 & 2 \end{pmatrix}",
                r"clean problem \begin{pmatrix} 1 & 2 \end{pmatrix}",
                r"solution  \begin{pmatrix} -1 \cdot 10^{-7} \end{pmatrix}",
            ],
            {"row": 7, "problem": [[1.5, 2.0]], "clean_problem": [[1.0, 2.0]], "solution": [[-1e-7]]},
        ),
        (
            EXPRESSIONS,
            FORMULA,
            ["problem   x**2", "solution  2*x", "operators 4"],
            ["problem   {x}^{2}", "solution  2 x", "operators 4"],
            {"row": 7, "problem": "x**2", "solution": "2*x", "operators": 4},
        ),
        (
            SORTING,
            EXAMPLE,
            ["problem   ba_", "solution  ab"],
            [r"problem   \mathtt{ba\_}", r"solution  \mathtt{ab}"],
            {"row": 7, "problem": "ba_", "solution": "ab"},
        ),
        (
            PAIRS,
            EDGES,
            ["problem   [(0, 1), (1, -2)]", "solution  5", "class 5"],
            ["problem   [(0, 1), (1, -2)]", "solution  5", "class 5"],
            {"row": 7, "problem": [(0, 1), (1, -2)], "solution": 5, "class": 5},
        ),
    ],
    ids=["matrices", "expressions", "sequences", "integers"],
)
def test_examples_are_shown(
    spec: dict[str, Any], examples: Examples, text: list[str], latex: list[str], values: dict[str, Any]
) -> None:
    problem_type = problem_type_of(spec)
    assert problem_type.example_lines(spec, examples, 0) == text
    assert problem_type.example_lines(spec, examples, 0, latex=True) == latex
    assert problem_type.example_json(spec, examples, 0) == values


def test_tokens_of_several_characters_are_separated() -> None:
    spec = {"problems": {"kind": "sequences", "alphabet": ["10", "11"]}}
    assert problem_type_of(spec).lines(spec, b"\x00\x01\x09") == ["10 11 <9>"]
    assert problem_type_of(spec).latex(spec, b"\x00\x01") == r"\mathtt{10\ 11}"


def test_sequences_are_exported_as_the_tokens_of_their_alphabet(tmp_path: Path) -> None:
    spec = DatasetSpec(task="xor", problems=BitSpec(bits=2, sampling="passes"), chunk_rows=20)
    make_dataset(spec, Layout({"train": 8}, 20), str(tmp_path / "xor"), workers=0)
    file = io.BytesIO()
    assert export_text(open_dataset(tmp_path / "xor"), file) == 8
    for line in file.getvalue().decode().splitlines():
        a, b, c, d, x, y = map(int, line.replace("\t", " ").split())
        assert (a ^ c, b ^ d) == (x, y)
