"""The interface of a problem type: how its examples are stored, tokenized, shown and exported."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from mathpipe.datasets.format.example_formats import ExampleFormat
from mathpipe.datasets.format.examples import Examples
from mathpipe.datasets.tokenizers.tokenizer import Tokenizer

Spec = dict[str, Any]  # the spec of a dataset as stored in its manifest


class ProblemType(ABC):
    """What problems and solutions are. Methods depend on nothing but their arguments.

    ``takes_number_encodings``: whether the user chooses an encoding of numbers. ``line_start``: text before each exported problem.
    """

    name: ClassVar[str]
    takes_number_encodings: ClassVar[bool] = False
    line_start: ClassVar[str] = ""

    @abstractmethod
    def example_format(self, spec: Spec) -> ExampleFormat:
        """How shards store the examples of this spec."""

    @abstractmethod
    def tokenizers(
        self, spec: Spec, input_encoding: str | None = None, output_encoding: str | None = None, precision: int = 2
    ) -> tuple[Tokenizer, Tokenizer]:
        """The tokenizers of problems and solutions. Encodings apply to matrices and integers, ``precision`` to matrices only.

        None: the default of the type.
        """

    def default_encodings(self, spec: Spec, input_encoding: str | None, output_encoding: str | None) -> tuple[str, str]:
        """The names as given, or the default of the type: P10 for matrices. Expressions and sequences ignore the names."""
        return input_encoding or "P10", output_encoding or "P10"

    @abstractmethod
    def lines(self, spec: Spec, value: Any) -> list[str]:
        """A problem or solution as lines of text."""

    @abstractmethod
    def latex(self, spec: Spec, value: Any) -> str:
        """A problem or solution in LaTeX."""

    def json_value(self, spec: Spec, value: Any) -> Any:
        """A problem or solution as a plain value."""
        return "\n".join(self.lines(spec, value))

    def value(self, spec: Spec, side: str, stored: Any) -> Any:
        """A stored problem or solution (``side``) as it is shown."""
        return stored

    def values(self, spec: Spec, examples: Examples, i: int) -> dict[str, Any]:
        """Problem, noise-free problem if there is noise, and solution of example i."""
        values = {"problem": self.value(spec, "problem", examples.problems[i])}
        if examples.solved is not examples.problems:
            values["clean problem"] = self.value(spec, "problem", examples.solved[i])
        return {**values, "solution": self.value(spec, "solution", examples.solutions[i])}

    def example_lines(self, spec: Spec, examples: Examples, i: int, *, latex: bool = False) -> list[str]:
        """Lines that show example i."""
        lines = []
        for name, value in self.values(spec, examples, i).items():
            text = [self.latex(spec, value)] if latex else self.lines(spec, value)
            lines += [f"{name:<9} {text[0]}", *(f"{'':<9} {line}" for line in text[1:])]
        columns = ", ".join(f"{name} {value}" for name, value in examples.extra_columns(i).items())
        return [*lines, columns] if columns else lines

    def example_json(self, spec: Spec, examples: Examples, i: int, *, latex: bool = False) -> dict[str, Any]:
        """Example i as plain values."""
        show = self.latex if latex else self.json_value
        values = {name.replace(" ", "_"): show(spec, value) for name, value in self.values(spec, examples, i).items()}
        return {"row": int(examples.row[i]), **values, **examples.extra_columns(i)}
