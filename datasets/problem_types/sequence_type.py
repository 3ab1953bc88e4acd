"""The problem type ``sequences``: problems and solutions are sequences of tokens of a small alphabet.

The spec of the problems holds the ``alphabet``, the token of each stored id, and ``solution_length`` if all solutions have one.
"""

from __future__ import annotations

from mathpipe.datasets.format.example_formats import ExampleFormat, TokenFormat
from mathpipe.datasets.problem_types.problem_type import ProblemType, Spec
from mathpipe.datasets.tokenizers.sequence_tokenizer import SequenceTokenizer
from mathpipe.datasets.tokenizers.tokenizer import Tokenizer

_LATEX_SPECIAL = str.maketrans(
    {c: f"\\{c}" for c in "#$%&_{}"} | {"\\": "\\backslash ", "~": "\\sim ", "^": "\\wedge "}
)


class SequenceType(ProblemType):
    """Sequences of token ids; one fixed vocabulary."""

    name = "sequences"

    def example_format(self, spec: Spec) -> ExampleFormat:
        return TokenFormat(spec["problems"].get("columns"), alphabet(spec))  # columns: of imported examples

    def tokenizers(
        self, spec: Spec, input_encoding: str | None = None, output_encoding: str | None = None, precision: int = 2
    ) -> tuple[Tokenizer, Tokenizer]:
        tokenizer = SequenceTokenizer(alphabet(spec), spec["problems"].get("solution_length"))
        return tokenizer, tokenizer

    def lines(self, spec: Spec, value: bytes) -> list[str]:
        return [sequence_to_text(value, alphabet(spec))]

    def latex(self, spec: Spec, value: bytes) -> str:
        text = sequence_to_text(value, alphabet(spec)).translate(_LATEX_SPECIAL)
        return f"\\mathtt{{{text}}}".replace(" ", "\\ ")


def alphabet(spec: Spec) -> tuple[str, ...]:
    """The token of each stored id."""
    return tuple(spec["problems"]["alphabet"])


def sequence_to_text(ids: bytes, alphabet: tuple[str, ...]) -> str:
    """``0110?1``; separated by spaces if some token has several characters. Unknown ids show as ``<id>``."""
    separator = "" if all(len(token) == 1 for token in alphabet) else " "
    return separator.join(alphabet[k] if k < len(alphabet) else f"<{k}>" for k in ids)
