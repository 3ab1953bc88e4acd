"""Tokenizer of sequences over an alphabet given by the task: the stored id k is the k-th token of the alphabet.

As in all vocabularies of this package, id 0 begins and ends a sequence and id 1 pads, so the first token of the alphabet has id 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.stored_ids import StoredIdTokenizer
from mathpipe.datasets.tokenizers.tokenizer import TokenizedFormat

FRAMING = ("<s>", "<pad>")
FIRST_TOKEN = len(FRAMING)  # the token id of the first token of the alphabet
MAX_ALPHABET = 250  # stored ids are bytes


@dataclass(frozen=True)
class SequenceTokenizer(StoredIdTokenizer):
    """Encodes and decodes sequences over ``alphabet``, up to 250 different tokens.

    ``solution_length``: tokens of every solution if all have the same number, else None. UserError for an invalid alphabet.
    """

    alphabet: tuple[str, ...]
    solution_length: int | None = None

    def __post_init__(self) -> None:
        printable = all(token and not any(map(str.isspace, token)) for token in self.alphabet)
        distinct = len({*self.alphabet, *FRAMING}) == len(self.alphabet) + len(FRAMING)
        if not (1 <= len(self.alphabet) <= MAX_ALPHABET and printable and distinct):
            raise UserError(
                "the alphabet of a sequence task is invalid",
                expected=f"1 to {MAX_ALPHABET} different tokens without spaces, none of them {' or '.join(FRAMING)}",
                got=" ".join(self.alphabet)[:80] or "no token",
            )

    @property
    def name(self) -> str:
        return "the alphabet"

    @property
    def first_id(self) -> int:
        return FIRST_TOKEN

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The token of each id."""
        return (*FRAMING, *self.alphabet)

    @cached_property
    def format(self) -> TokenizedFormat:
        return TokenizedFormat(len(self.vocabulary), solution_length=self.solution_length)
