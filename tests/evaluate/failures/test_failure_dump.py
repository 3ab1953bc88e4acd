"""Failure dumps: round trip, streaming, damage; which failures are the worst; how they are drawn."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zstandard

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.decode.decoding import Hypotheses
from mathpipe.evaluate.failures.failure_dump import Failure, FailureWriter, WorstFailures, failures, read_failures
from mathpipe.evaluate.failures.failure_rendering import render_failure
from mathpipe.evaluate.predictions import predictions_table
from mathpipe.evaluate.score.matrix_scoring import append_end, score
from mathpipe.generate.tasks.registry import TASKS

P1000 = MatrixTokenizer.named("P1000")


def found_in(task: str, rows: MatrixExamples, decoded: Hypotheses) -> list[Failure]:
    """The failures among these answers, as a predictions file would tell of them."""
    scored = score(TASKS[task], P1000, rows, decoded)
    return list(failures(predictions_table(scored, "test", P1000, P1000, TASKS[task]), task))


@pytest.fixture
def found(said: Callable[..., Hypotheses], problems: Callable[..., MatrixExamples]) -> list[Failure]:
    """[4 6] answered: right, wrong, in another shape, malformed."""
    rows = problems([[[1, 2, 3, 4]]] * 4, [[[4, 6]]] * 4)
    words = [
        "V1 V2 + 400 E-2 + 600 E-2 <s>",
        "V1 V2 + 400 E-2 - 600 E-2 <s>",
        "V2 V1 + 400 E-2 + 600 E-2 <s>",
        "V1 <s>",
    ]
    return found_in("add", rows, said(P1000, words))


def dumped(path: Path, found: Iterator[Failure] | list[Failure]) -> Path:
    with path.open("wb") as file:
        writer = FailureWriter(file)
        writer.append(found)
        writer.close()
    return path


def test_failed_problems_are_described_whole(found: list[Failure]) -> None:
    wrong, shape, malformed = found
    assert (wrong.row, wrong.split, wrong.outcome, wrong.prediction) == (
        1,
        "test",
        "wrong_value",
        "V1 V2 + 400 E-2 - 600 E-2",
    )
    assert wrong.problem.tolist() == [[1, 2, 3, 4]]
    assert wrong.reference.tolist() == [[4, 6]]
    assert wrong.decoded is not None and wrong.decoded.tolist() == [[4, -6]]
    assert wrong.residual is not None and wrong.residual.tolist() == [[0, -12]]
    assert wrong.errors["error_l1"] == pytest.approx(1.2)
    assert wrong.reference_error_l1 == 0
    assert wrong.log_probability == -2
    assert shape.decoded is not None and shape.decoded.tolist() == [[4], [6]]
    assert shape.residual is None and shape.errors["error_l1"] is None
    assert malformed.decoded is None and malformed.residual is None and malformed.prediction == "V1"


def test_a_dump_is_compressed_json_lines_and_reads_back(found: list[Failure], tmp_path: Path) -> None:
    path = dumped(tmp_path / "failures.jsonl.zst", found)
    lines = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read().decode().splitlines()
    assert [json.loads(line)["outcome"] for line in lines] == ["wrong_value", "wrong_shape", "malformed"]
    back = list(read_failures(path))
    assert [f.to_json() for f in back] == [f.to_json() for f in found] == lines
    assert back[0].decoded is not None and back[0].decoded.shape == (1, 2)
    empty = dumped(tmp_path / "empty.zst", [])
    assert list(read_failures(empty)) == []


def test_a_dump_of_before_names_were_told_is_read(found: list[Failure], tmp_path: Path) -> None:
    record = json.loads(found[0].to_json())
    assert [record.pop(name) for name in ("task", "spectrum", "confused_with")] == [None, None, None]
    path = tmp_path / "old.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(json.dumps(record).encode() + b"\n"))
    (back,) = read_failures(path)
    assert back.to_json() == found[0].to_json()


def test_the_other_problem_an_answer_is_right_for_is_told(
    said: Callable[..., Hypotheses], problems: Callable[..., MatrixExamples]
) -> None:
    """[1 2; 3 4] answered by itself, where its transpose was asked for."""
    rows = problems([[[1, 2], [3, 4]]], [[[1, 3], [2, 4]]])
    (failure,) = found_in("transpose", rows, said(P1000, ["V2 V2 + 100 E-2 + 200 E-2 + 300 E-2 + 400 E-2 <s>"]))
    assert failure.confused_with == "A transposed" and failure.task is None
    assert Failure.from_json(failure.to_json()).confused_with == "A transposed"
    assert render_failure(failure)[0].endswith("right for another problem: A transposed")


def test_an_infinite_error_has_a_place_in_json(
    said: Callable[..., Hypotheses], problems: Callable[..., MatrixExamples]
) -> None:
    (failure,) = found_in("add", problems([[[1, -1]]], [[[0]]]), said(P1000, ["V1 V1 + 100 E-2 <s>"]))
    assert (failure.outcome, failure.errors["error_l1"], failure.error) == ("wrong_value", None, -1)
    assert Failure.from_json(failure.to_json()).errors == failure.errors


def many(template: Failure, count: int) -> Iterator[Failure]:
    rng = np.random.default_rng(0)
    for row in range(count):
        yield Failure(**{**vars(template), "row": row, "problem": rng.normal(size=(10, 10))})


def test_a_residual_that_overflows_is_dumped_and_drawn(tmp_path: Path) -> None:
    task = TASKS["svd"]
    problems = Matrices.from_dense([[[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]]])
    solutions = task.solve(problems).solutions
    huge = Matrices(np.full(len(solutions.values), 9.99e102), solutions.rows, solutions.cols)
    (failure,) = found_in(
        "svd",
        MatrixExamples(np.arange(1), problems, solutions),
        Hypotheses(append_end(*P1000.encode(huge)), np.zeros(1)),
    )
    assert failure.residual is not None and not np.isfinite(failure.residual).all()
    (back,) = read_failures(dumped(tmp_path / "f.zst", [failure]))
    assert back.residual is not None and (np.isnan(back.residual) == ~np.isfinite(failure.residual)).all()
    assert all("residual" in "\n".join(render_failure(each)) for each in (failure, back))


def test_a_large_dump_streams_in_flat_memory(found: list[Failure], tmp_path: Path) -> None:
    tracemalloc.start()
    path = dumped(tmp_path / "large.zst", many(found[0], 3000))
    assert sum(failure.row for failure in read_failures(path)) == 3000 * 2999 // 2
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 2.4e6  # over 6 MB of JSON
    assert peak < 1.5e6


def test_damage_is_told(found: list[Failure], tmp_path: Path) -> None:
    whole = dumped(tmp_path / "whole.zst", many(found[0], 1000)).read_bytes()
    other = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(other, closefd=False) as stream:
        stream.write(b'{"row": 1}\n')
    cases = {
        "cut.zst": whole[:-20],
        "text.zst": b"plain text",
        "empty.zst": b"",
        "other.zst": other.getvalue(),
        "flipped.zst": whole[:100] + bytes([whole[100] ^ 255]) + whole[101:],
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as a failure dump"):
            list(read_failures(tmp_path / name))
    with pytest.raises(UserError, match="cannot be read"):
        list(read_failures(tmp_path / "missing.zst"))


def with_error(template: Failure, row: int, error: float | None) -> Failure:
    return Failure(**{**vars(template), "row": row, "errors": {"error_l1": error}})


def test_the_worst_are_a_sample_of_the_unreadable_then_the_largest_errors(found: list[Failure]) -> None:
    wrong, shape, malformed = found
    worst = WorstFailures(count=5)
    rng = np.random.default_rng(0)
    errors = rng.permutation(40) / 10 + 0.1
    stream = [with_error(wrong, i, float(e)) for i, e in enumerate(errors)]
    stream += [with_error(malformed, 100 + i, None) for i in range(20)] + [shape, with_error(wrong, 200, None)]
    assert list(worst.observe(stream)) == stream
    selected = worst.selected()
    assert [f.outcome for f in selected] == ["malformed", "wrong_shape", *["wrong_value"] * 3]
    assert selected[0].row == 100
    assert [f.error for f in selected[2:]] == sorted(errors.tolist(), reverse=True)[:3]


def test_fewer_failures_than_asked_for_are_all_shown(found: list[Failure]) -> None:
    wrong, _, malformed = found
    worst = WorstFailures(count=10)
    for failure in [malformed, with_error(wrong, 8, None), with_error(wrong, 9, 0.2), *[malformed] * 20]:
        worst.add(failure)
    assert [f.error for f in worst.selected()] == [-1, 0.2, -1, *[-1] * 7]
    assert [f.outcome for f in worst.selected()][:4] == ["malformed", "wrong_value", "wrong_value", "malformed"]
    assert WorstFailures().selected() == []


def test_equal_errors_are_shown_in_the_order_of_rows(found: list[Failure]) -> None:
    worst = WorstFailures(count=3)
    for row in (5, 3, 9, 1):
        worst.add(with_error(found[0], row, 1.0))
    assert [f.row for f in worst.selected()] == [1, 3, 5]


def test_without_errors_the_most_confident_wrong_answers_are_the_worst(found: list[Failure]) -> None:
    def told(row: int, outcome: str, log_probability: float | None) -> Failure:
        changed = {"row": row, "outcome": outcome, "errors": {"share": 0.0}, "log_probability": log_probability}
        return Failure(**{**vars(found[0]), **changed})

    worst = WorstFailures(count=6)
    for row, confidence in enumerate([-3.0, None, -0.5, -9.0, -0.5, -20.0]):
        worst.add(told(row, "partial" if row == 4 else "wrong_value", confidence))
    worst.add(told(10, "undecided", -0.1))
    worst.add(told(11, "undecided", -0.2))
    assert [failure.row for failure in worst.selected()] == [10, 2, 4, 0, 3, 5]


def test_an_expression_drawn_twice_is_shown_once(found: list[Failure]) -> None:
    worst = WorstFailures(count=3)
    for row, problem in enumerate(["x", "y", "x", "x", "x", "add x y"]):
        worst.add(Failure(**{**vars(found[0]), "row": row, "problem": problem, "errors": {}}))
    assert [failure.row for failure in worst.selected()] == [0, 1, 5]


def test_a_failure_is_drawn(found: list[Failure]) -> None:
    wrong, shape, malformed = found
    headline, captions, drawing = render_failure(wrong)
    assert headline == "row 1, wrong_value, error_l1 1.2, log probability -2"
    poor = Failure(**{**vars(wrong), "reference_error_l1": 0.03})
    assert render_failure(poor)[0] == "row 1, wrong_value, error_l1 1.2 (the reference's own 0.03), log probability -2"
    assert captions.split() == ["problem", "reference", "prediction", "residual", "H", "-", "X"]
    assert drawing.split("   ") == ["[ 1  2  3  4 ]", "[ 4  6 ]", " [ 4  -6 ]", " [ 0  -12 ]"]
    assert "residual" not in "".join(render_failure(shape))
    assert render_failure(malformed)[0] == "row 3, malformed, log probability -4"
    assert render_failure(malformed)[-1] == "prediction: V1"
    assert render_failure(Failure(**{**vars(malformed), "prediction": ""}))[-1] == "prediction: (no words)"
    long = render_failure(Failure(**{**vars(malformed), "prediction": "V1 " * 99}), width=40, ascii_only=True)[-1]
    assert len(long) == 40 and long.endswith("..")
    assert "\x1b[31m" not in "".join(render_failure(wrong))
    assert "\x1b[31m-6\x1b[0m" in render_failure(wrong, colour=True)[-1]
    assert all(line.isascii() for line in render_failure(wrong, ascii_only=True))


def test_the_residual_of_an_inverse_is_that_of_its_equation(
    said: Callable[..., Hypotheses], problems: Callable[..., MatrixExamples]
) -> None:
    """A = diag(2, 4), H = diag(0.5, 0.5): A H - I = diag(0, 1)."""
    rows = problems([[[2, 0], [0, 4]]], [[[0.5, 0], [0, 0.25]]])
    words = "V2 V2 + 500 E-3 + 0 E0 + 0 E0 + 500 E-3 <s>"
    (failure,) = found_in("inverse", rows, said(P1000, [words]))
    assert failure.residual is not None and failure.residual.tolist() == [[0, 0], [0, 1]]
    assert "residual A H - I" in "\n".join(render_failure(failure))
