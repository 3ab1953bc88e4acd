"""Failure dumps: fields of a failure, round trip, constant memory, damaged files."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zstandard

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.failures.failure import Failure
from mathpipe.evaluate.failures.failure_dump import FailureWriter, read_failures
from mathpipe.evaluate.report.failure_rendering import render_failure
from mathpipe.evaluate.score.scoring import append_end
from mathpipe.generate.tasks.task_registry import matrix_task

FailuresOf = Callable[..., list[Failure]]
MakeExamples = Callable[..., MatrixExamples]


def write_dump(path: Path, failures: Iterable[Failure]) -> Path:
    with path.open("wb") as file:
        writer = FailureWriter(file)
        writer.append(failures)
        writer.close()
    return path


def test_failure_fields(addition_failures: list[Failure]) -> None:
    wrong, other_shape, malformed = addition_failures
    assert (wrong.problem_type, wrong.row, wrong.split, wrong.outcome) == ("matrices", 1, "test", "wrong_value")
    assert wrong.prediction == "V1 V2 + 400 E-2 - 600 E-2"
    assert wrong.problem.tolist() == [[1, 2, 3, 4]]
    assert wrong.reference.tolist() == [[4, 6]]
    assert wrong.decoded is not None and wrong.decoded.tolist() == [[4, -6]]
    assert wrong.residual is not None and wrong.residual.tolist() == [[0, -12]]
    assert wrong.errors["error_l1"] == pytest.approx(1.2)
    assert wrong.reference_error_l1 == 0
    assert wrong.log_probability == -2
    assert other_shape.decoded is not None and other_shape.decoded.tolist() == [[4], [6]]
    assert other_shape.residual is None and other_shape.errors["error_l1"] is None
    assert malformed.decoded is None and malformed.residual is None and malformed.prediction == "V1"


def test_dump_is_compressed_json_lines_and_round_trips(addition_failures: list[Failure], tmp_path: Path) -> None:
    path = write_dump(tmp_path / "failures.jsonl.zst", addition_failures)
    lines = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read().decode().splitlines()
    assert [json.loads(line)["outcome"] for line in lines] == ["wrong_value", "wrong_shape", "malformed"]
    restored = list(read_failures(path))
    assert [f.to_json() for f in restored] == [f.to_json() for f in addition_failures] == lines
    assert restored[0].decoded is not None and restored[0].decoded.shape == (1, 2)
    assert list(read_failures(write_dump(tmp_path / "empty.zst", []))) == []


def test_wrong_problem_is_named(failures_of: FailuresOf, make_examples: MakeExamples) -> None:
    """[1 2; 3 4] as the answer to its own transposition."""
    examples = make_examples([[[1, 2], [3, 4]]], [[[1, 3], [2, 4]]])
    (failure,) = failures_of("transpose", examples, ["V2 V2 + 100 E-2 + 200 E-2 + 300 E-2 + 400 E-2 <s>"])
    assert failure.confused_with == "A transposed" and failure.task is None
    assert Failure.from_json(failure.to_json()).confused_with == "A transposed"
    assert render_failure(failure)[0].endswith("correct for another problem: A transposed")


def test_infinite_error_is_null_in_json(failures_of: FailuresOf, make_examples: MakeExamples) -> None:
    (failure,) = failures_of("add", make_examples([[[1, -1]]], [[[0]]]), ["V1 V1 + 100 E-2 <s>"])
    assert (failure.outcome, failure.errors["error_l1"], failure.error) == ("wrong_value", None, -1)
    assert Failure.from_json(failure.to_json()).errors == failure.errors


def test_overflowing_residual_is_dumped_and_rendered(failures_of: FailuresOf, tmp_path: Path) -> None:
    problems = Matrices.from_dense([[[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]]])
    solutions = matrix_task("svd").solve(problems).solutions
    huge = Matrices(np.full(len(solutions.values), 9.99e102), solutions.rows, solutions.cols)
    answers = Hypotheses(append_end(*MatrixTokenizer.named("P1000").encode(huge)), np.zeros(1))
    (failure,) = failures_of("svd", MatrixExamples(np.arange(1), problems, solutions), answers)
    assert failure.residual is not None and not np.isfinite(failure.residual).all()
    (restored,) = read_failures(write_dump(tmp_path / "f.zst", [failure]))
    assert restored.residual is not None
    assert (np.isnan(restored.residual) == ~np.isfinite(failure.residual)).all()
    assert all("residual" in "\n".join(render_failure(each)) for each in (failure, restored))


def repeat(template: Failure, count: int) -> Iterator[Failure]:
    rng = np.random.default_rng(0)
    for row in range(count):
        yield Failure(**{**vars(template), "row": row, "problem": rng.normal(size=(10, 10))})


def test_large_dump_streams_in_constant_memory(addition_failures: list[Failure], tmp_path: Path) -> None:
    tracemalloc.start()
    path = write_dump(tmp_path / "large.zst", repeat(addition_failures[0], 3000))
    assert sum(failure.row for failure in read_failures(path)) == 3000 * 2999 // 2
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 2.4e6  # over 6 MB of JSON
    assert peak < 1.5e6


def test_damaged_dumps_raise_user_errors(addition_failures: list[Failure], tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump.zst", repeat(addition_failures[0], 1000)).read_bytes()
    other_json = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(other_json, closefd=False) as stream:
        stream.write(b'{"row": 1}\n')
    cases = {
        "truncated.zst": dump[:-20],
        "text.zst": b"plain text",
        "empty.zst": b"",
        "other.zst": other_json.getvalue(),
        "flipped.zst": dump[:100] + bytes([dump[100] ^ 255]) + dump[101:],
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as a failure dump"):
            list(read_failures(tmp_path / name))
    with pytest.raises(UserError, match="cannot be read"):
        list(read_failures(tmp_path / "missing.zst"))
