"""Failures on a terminal and as cards: headline, matrices side by side, marked entries, shortened text."""

from __future__ import annotations

from collections.abc import Callable

from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.evaluate.failures.failure import Failure
from mathpipe.evaluate.report.failure_rendering import failure_card, render_failure


def changed(failure: Failure, **changes: object) -> Failure:
    return Failure(**{**vars(failure), **changes})


def test_headline(addition_failures: list[Failure]) -> None:
    wrong, _, malformed = addition_failures
    assert render_failure(wrong)[0] == "row 1, wrong_value, error_l1 1.2, log probability -2"
    rounded = changed(wrong, reference_error_l1=0.03)
    assert render_failure(rounded)[0] == "row 1, wrong_value, error_l1 1.2 (rounded reference 0.03), log probability -2"
    assert render_failure(malformed)[0] == "row 3, malformed, log probability -4"


def test_matrices_side_by_side(addition_failures: list[Failure]) -> None:
    wrong, other_shape, _ = addition_failures
    _, captions, drawing = render_failure(wrong)
    assert captions.split() == ["problem", "reference", "prediction", "residual", "H", "-", "X"]
    assert drawing.split("   ") == ["[ 1  2  3  4 ]", "[ 4  6 ]", " [ 4  -6 ]", " [ 0  -12 ]"]
    assert "residual" not in "".join(render_failure(other_shape))
    assert "\x1b[31m" not in "".join(render_failure(wrong))
    assert "\x1b[31m-6\x1b[0m" in render_failure(wrong, colour=True)[-1]
    assert all(line.isascii() for line in render_failure(wrong, ascii_only=True))


def test_malformed_prediction_is_shown_as_tokens(addition_failures: list[Failure]) -> None:
    malformed = addition_failures[2]
    assert render_failure(malformed)[-1] == "prediction: V1"
    assert render_failure(changed(malformed, prediction=""))[-1] == "prediction: (no tokens)"
    long = render_failure(changed(malformed, prediction="V1 " * 99), width=40, ascii_only=True)[-1]
    assert len(long) == 40 and long.endswith("..")
    assert '<p class="tokens">V1</p>' in failure_card(malformed)


def test_residual_of_an_inverse_is_that_of_its_equation(
    failures_of: Callable[..., list[Failure]], make_examples: Callable[..., MatrixExamples]
) -> None:
    """A = diag(2, 4), H = diag(0.5, 0.5): A H - I = diag(0, 1)."""
    examples = make_examples([[[2, 0], [0, 4]]], [[[0.5, 0], [0, 0.25]]])
    (failure,) = failures_of("inverse", examples, ["V2 V2 + 500 E-3 + 0 E0 + 0 E0 + 500 E-3 <s>"])
    assert failure.residual is not None and failure.residual.tolist() == [[0, 0], [0, 1]]
    assert "residual A H - I" in "\n".join(render_failure(failure))


def test_card_marks_wrong_entries_and_escapes_text(addition_failures: list[Failure]) -> None:
    card = failure_card(changed(addition_failures[0], spectrum="<b>", correct_rank=2))
    assert "<td class=wrong>−6</td>" in card and "<td class=wrong>4" not in card
    assert "&lt;b&gt;" in card and "hypothesis 3 is correct" in card and "residual H - X" in card
