"""Failed problems drawn for a terminal: matrices side by side, or formulas below each other."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.prefix import Malformed, text_to_ids
from mathpipe.datasets.rendering.formulas import to_infix
from mathpipe.datasets.rendering.matrix_drawing import ASCII, UNICODE, render_matrix, side_by_side
from mathpipe.evaluate.failures.failure_dump import Failure


def render_failure(failure: Failure, width: int = 100, colour: bool = False, ascii_only: bool = False) -> list[str]:
    """Lines that show one failure, the first saying what went wrong."""
    if isinstance(failure.problem, str):
        return _draw_formulas(failure, width, ascii_only)
    return _draw_matrices(failure, width, colour, ascii_only)


def _draw_formulas(failure: Failure, width: int, ascii_only: bool) -> list[str]:
    texts = {"problem": failure.problem, "reference": failure.reference, "prediction": failure.prediction}
    lines = [_headline(failure)]
    for name, words in texts.items():
        drawn = _shortened(
            f"{name:<10}  {format_expression(str(words)) or '(no words)'}", width, ".." if ascii_only else "…"
        )
        lines.append(drawn)
    return lines


def format_expression(words: str) -> str:
    """Prefix words as a formula; as they are where they make none."""
    try:
        return to_infix(text_to_ids(words))
    except (Malformed, UserError):
        return words


def _draw_matrices(failure: Failure, width: int = 100, colour: bool = False, ascii_only: bool = False) -> list[str]:
    """Problem, reference, prediction and residual side by side, under a line that says what went wrong.

    With ``colour`` the entries that are off by more than 5 % of the reference's largest one are red.
    """
    assert not isinstance(failure.problem, str) and not isinstance(failure.reference, str)
    glyphs = ASCII if ascii_only else UNICODE
    wrong = None
    if failure.residual is not None and failure.decoded is not None:
        wrong = np.abs(failure.decoded - failure.reference) > 0.05 * np.abs(failure.reference).max()
    blocks = [("problem", render_matrix(failure.problem, glyphs=glyphs))]
    blocks.append(("reference", render_matrix(failure.reference, glyphs=glyphs)))
    if failure.decoded is not None:
        blocks.append(("prediction", render_matrix(failure.decoded, marked=wrong, colour=colour, glyphs=glyphs)))
    if failure.residual is not None:
        blocks.append((f"residual {failure.residual_formula}", render_matrix(failure.residual, glyphs=glyphs)))
    lines = [_headline(failure), *side_by_side(blocks, width=width)]
    if failure.decoded is None:
        lines.append(
            _shortened(f"prediction: {failure.prediction or '(no words)'}", width, ".." if ascii_only else "…")
        )
    return lines


def render_failures(
    selected: Iterable[Failure], width: int = 100, colour: bool = False, ascii_only: bool = False
) -> str:
    """Several failures, a blank line between them."""
    return "\n\n".join("\n".join(render_failure(failure, width, colour, ascii_only)) for failure in selected)


def _headline(failure: Failure) -> str:
    parts = [f"row {failure.row}", *filter(None, (failure.task, failure.spectrum)), failure.outcome]
    if failure.errors.get("error_l1") is not None:
        own = failure.reference_error_l1
        shown = (
            own is not None and own >= 0.001
        )  # the reference is rounded, too: of interest where that costs something
        parts.append(f"error_l1 {failure.error:.3g}" + (f" (the reference's own {own:.3g})" if shown else ""))
    if failure.log_probability is not None:
        parts.append(f"log probability {failure.log_probability:.3g}")
    if failure.confused_with is not None:
        parts.append(f"right for another problem: {failure.confused_with}")
    return ", ".join(parts)


def _shortened(text: str, width: int, ellipsis: str) -> str:
    return text if len(text) <= width else text[: max(width - len(ellipsis), 0)] + ellipsis
