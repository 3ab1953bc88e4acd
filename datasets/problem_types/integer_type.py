"""The problem type ``integers``: problems and solutions are integers in tuples and lists.

The spec holds their layouts (``problem_layout``, ``solution_layout``: see ``mathpipe.datasets.containers.integer_layout``), and the
ranges of their integers where the task states them.
"""

from __future__ import annotations

from typing import Any

from mathpipe.datasets.containers.integer_layout import unflatten
from mathpipe.datasets.format.example_formats import ExampleFormat, IntegerFormat
from mathpipe.datasets.problem_types.problem_type import ProblemType, Spec
from mathpipe.datasets.tokenizers.integer_tokenizer import IntegerTokenizer
from mathpipe.datasets.tokenizers.sized_tuples import SUFFIX, sized_tuples
from mathpipe.datasets.tokenizers.tokenizer import Tokenizer

_MANY = 1000  # ranges of up to so many integers have one token an integer by default


class IntegerType(ProblemType):
    """Nested integers, tokenized in an integer encoding. Values are nested lists and tuples."""

    name = "integers"
    takes_number_encodings = True

    def example_format(self, spec: Spec) -> ExampleFormat:
        return IntegerFormat(spec["problems"].get("columns"))  # known for imported examples; None accepts any

    def tokenizers(
        self,
        spec: Spec,
        input_encoding: str | None = None,
        output_encoding: str | None = None,
        precision: int = 2,
    ) -> tuple[Tokenizer, Tokenizer]:
        problems = spec["problems"]
        names = self.default_encodings(spec, input_encoding, output_encoding)
        source, target = (
            (sized_tuples if name.endswith(SUFFIX) else IntegerTokenizer.named)(
                name, problems[f"{side}_layout"], problems.get(f"{side}_range")
            )
            for side, name in zip(("problem", "solution"), names, strict=True)
        )
        return source, target

    def default_encodings(self, spec: Spec, input_encoding: str | None, output_encoding: str | None) -> tuple[str, str]:
        """``symbol`` for None and a stated range of up to 1,000 integers, else ``base1000``."""
        names = []
        for side, name in (("problem", input_encoding), ("solution", output_encoding)):
            stated = spec["problems"].get(f"{side}_range")
            names.append(name or ("symbol" if stated and stated[1] - stated[0] < _MANY else "base1000"))
        return names[0], names[1]

    def value(self, spec: Spec, side: str, stored: Any) -> Any:
        return unflatten(spec["problems"][f"{side}_layout"], stored)

    def lines(self, spec: Spec, value: Any) -> list[str]:
        return [str(value)]

    def latex(self, spec: Spec, value: Any) -> str:
        return _latex(value)

    def json_value(self, spec: Spec, value: Any) -> Any:
        return value


def _latex(value: Any) -> str:
    if isinstance(value, int):
        return str(value)
    inner = ", ".join(map(_latex, value))
    return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
