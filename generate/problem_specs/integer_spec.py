"""The parameters of problems that are integers in tuples and lists."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from mathpipe.datasets.containers.integer_layout import parse_layout
from mathpipe.datasets.errors import UserError
from mathpipe.generate.dataset_spec import ProblemSpec


def _layout(text: str) -> str:
    """The layout in its canonical form, so that equal specs have one fingerprint."""
    try:
        return str(parse_layout(text))
    except UserError as error:
        raise ValueError(str(error)) from None


LayoutText = Annotated[str, AfterValidator(_layout)]


class IntegerSpec(ProblemSpec):
    """What a task of integers stores about its problems; a task adds its parameters.

    ``problem_layout``, ``solution_layout``: see ``mathpipe.datasets.containers.integer_layout``. ``problem_range``,
    ``solution_range``: the (smallest, largest) integer that may occur, if the task states them, for one token an integer. The
    task sets all four.
    """

    kind: Literal["integers"] = "integers"
    problem_layout: LayoutText = "[int]"
    solution_layout: LayoutText = "[int]"
    problem_range: tuple[int, int] | None = None
    solution_range: tuple[int, int] | None = None
