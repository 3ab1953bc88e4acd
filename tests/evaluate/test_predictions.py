"""The predictions file: columns, nulls, tokens, several hypotheses per problem, appending, damaged files."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.adapters.matrix_adapter import MatrixAdapter
from mathpipe.evaluate.adapters.prediction_columns import token_strings
from mathpipe.evaluate.analyze.covariates import matrix_covariates
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.predictions import (
    PredictionsWriter,
    predictions_metadata,
    read_predictions,
)
from mathpipe.evaluate.score.matrix_verifier import ScoredMatrices
from mathpipe.generate.tasks.task_registry import TASKS

P1000, B1999 = MatrixTokenizer.named("P1000"), MatrixTokenizer.named("B1999")

CORRECT = "V2 V2 N500 E-3 N0 E0 N0 E0 N250 E-3 <s>"
OTHER_SHAPE = "V1 V2 N500 E-3 N250 E-3 <s>"


@pytest.fixture
def scored(decode: Callable[..., Hypotheses], make_examples: Callable[..., MatrixExamples]) -> ScoredMatrices:
    """Two problems, the first with two hypotheses."""
    examples = make_examples([[[2, 0], [0, 4]], [[4]]], [[[0.5, 0], [0, 0.25]], [[0.25]]])
    examples = MatrixExamples(np.array([17, 18]), examples.problems, examples.solutions)
    decoded = decode(B1999, [CORRECT, OTHER_SHAPE, "V1 V1 N250 <s>"])
    decoded = Hypotheses(decoded.tokens, decoded.log_probability, np.array([0, 0, 1]), np.array([0, 1, 0]))
    return MatrixAdapter(TASKS["inverse"]).score(B1999, examples, decoded)


def test_columns_and_values(scored: ScoredMatrices) -> None:
    table = MatrixAdapter(TASKS["inverse"]).table(scored, "test", P1000, B1999)
    assert table.to_pylist() == [
        {
            "row": 17,
            "split": "test",
            "rank": 0,
            "prediction": "V2 V2 N500 E-3 N0 E0 N0 E0 N250 E-3",
            "decoded": [0.5, 0, 0, 0.25],
            "decoded_rows": 2,
            "decoded_cols": 2,
            "outcome": "exact",
            "evidence": None,
            "passed": True,
            "matches_reference": True,
            "log_probability": -1.0,
            "error_l1": 0,
            "error_l2": 0,
            "error_max": 0,
            "error_componentwise": 0,
            "coefficients_within_1pct": 1,
            "error_reference_l1": 0,
            "predicted_condition": pytest.approx(2),
            "confused_with": None,
            "problem_tokens": "V2 V2 + 200 E-2 + 0 E0 + 0 E0 + 400 E-2",
            "reference": [0.5, 0, 0, 0.25],
            "reference_rows": 2,
            "reference_cols": 2,
            "reference_error_l1": 0,
            "correct_rank": 0,
            "problem": [2, 0, 0, 4],
            "largest": 4,
            "rows": 2,
            "cols": 2,
            "condition_number": 2,
            "norm": pytest.approx(20**0.5),
        },
        {
            **dict.fromkeys(table.column_names),  # all else is null: not rank 0, no matrix of the correct shape
            "row": 17,
            "split": "test",
            "rank": 1,
            "prediction": "V1 V2 N500 E-3 N250 E-3",
            "decoded": [0.5, 0.25],
            "decoded_rows": 1,
            "decoded_cols": 2,
            "outcome": "wrong_shape",
            "passed": False,
            "matches_reference": False,
            "log_probability": -2.0,
        },
        {
            **dict.fromkeys(table.column_names),
            "row": 18,
            "split": "test",
            "rank": 0,
            "prediction": "V1 V1 N250",
            "outcome": "malformed",
            "passed": False,
            "matches_reference": False,
            "log_probability": -3.0,
            "problem_tokens": "V1 V1 + 400 E-2",
            "reference": [0.25],
            "reference_rows": 1,
            "reference_cols": 1,
            "reference_error_l1": 0,
            "problem": [4],
            "largest": 4,
            "rows": 1,
            "cols": 1,
            "condition_number": 1,
            "norm": 4,
        },
    ]


def test_schema_does_not_depend_on_predictions(scored: ScoredMatrices, decode: Callable[..., Hypotheses]) -> None:
    unterminated = MatrixAdapter(TASKS["inverse"]).score(B1999, scored.problems, decode(B1999, ["V1"] * 3))
    assert (unterminated.outcome == 5).all()
    schema = MatrixAdapter(TASKS["inverse"]).table(unterminated, "test", P1000, B1999).schema
    assert schema == MatrixAdapter(TASKS["inverse"]).table(scored, "test", P1000, B1999).schema
    assert schema.field("error_l1").type == schema.field("log_probability").type == pa.float64()
    assert schema.field("row").type == pa.int64()
    assert schema.field("decoded").type == schema.field("reference").type == pa.list_(pa.float64())


def test_appended_tables_are_read_back(scored: ScoredMatrices, tmp_path: Path) -> None:
    table = MatrixAdapter(TASKS["inverse"]).table(scored, "test", P1000, B1999)
    buffer = io.BytesIO()
    writer = PredictionsWriter(buffer, {"task": "inverse", "spec": {"seed": 0}})
    for _ in range(3):
        writer.append(table)
    writer.close()
    path = tmp_path / "predictions.parquet"
    path.write_bytes(buffer.getvalue())
    assert read_predictions(path).replace_schema_metadata(None) == pa.concat_tables([table] * 3)
    assert read_predictions(path, ["outcome", "rank", "orthogonality"]).column_names == ["outcome", "rank"]
    assert predictions_metadata(path) == {"task": "inverse", "spec": {"seed": 0}}
    file = pq.ParquetFile(path)
    assert file.num_row_groups == 3
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_other_files_raise_user_errors(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("nothing")
    for name in ("text", "missing"):
        with pytest.raises(UserError, match="not a predictions file"):
            read_predictions(tmp_path / name)


def test_token_strings_inside_and_outside_the_vocabulary() -> None:
    tokens = np.array([[9, 9, 109, 0, 1], [-4, 10**12, 1, 2, 3]])
    lengths = np.array([3, 5])
    assert token_strings(P1000, tokens, lengths) == ["V1 V1 +", "<-4> <1000000000000> <pad> T A"]
    assert token_strings(P1000, tokens[:1], lengths[:1]) == ["V1 V1 +"]
    assert token_strings(P1000, np.zeros((2, 0), dtype=np.int64), np.array([0, 0])) == ["", ""]


def test_covariates() -> None:
    columns = matrix_covariates(Matrices.from_list([[[3, 0], [0, 4]], [[1, 2, 2]], [[1, 1], [1, 1]], [[0]]]))
    assert columns["rows"].tolist() == [2, 1, 2, 1]
    assert columns["cols"].tolist() == [2, 3, 2, 1]
    np.testing.assert_allclose(columns["norm"], [5, 3, 2, 0])
    assert columns["condition_number"][0] == pytest.approx(4 / 3)
    assert np.isnan(columns["condition_number"][1])
    assert columns["condition_number"][2] > 1e15
    assert not np.isfinite(columns["condition_number"][3])


def test_covariates_of_a_spectrum() -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    matrices = [rotation @ np.diag(values) @ rotation.T for values in ([2, 2, -2], [6, 3, 2], [9, 0, 0])]
    columns = matrix_covariates(Matrices.from_list([a.tolist() for a in matrices] + [[[0, 0], [0, 0]]]), symmetric=True)
    np.testing.assert_allclose(columns["dominant_eigenvalue_ratio"], [3**-0.5, 6 / 7, 1, np.nan])
    np.testing.assert_allclose(columns["positive_eigenvalue_fraction"][:2], [2 / 3, 1])
    np.testing.assert_allclose(columns["eigenvalue_gap"], [0, 1 / 6, 0, np.nan], atol=1e-12)
    np.testing.assert_allclose(columns["condition_number"][:2], [1, 3])
