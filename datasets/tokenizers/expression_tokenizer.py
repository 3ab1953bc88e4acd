"""Tokenizer of expressions. Token ids are those stored in the shards and of the published vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mathpipe.datasets.expressions.vocabulary import ARITY, TOKENS
from mathpipe.datasets.tokenizers.stored_ids import StoredIdTokenizer
from mathpipe.datasets.tokenizers.tokenizer import TokenizedFormat


@dataclass(frozen=True)
class PrefixFormat(TokenizedFormat):
    """Tokenized expressions: prefix sequences of the fixed vocabulary, without a header.

    ``arity`` (vocabulary_size,): number of operands of each token that begins a node; -1 for all others (digits continue the
    integer before them). A node's position in its tree follows from the preceding tokens alone.
    """

    arity: tuple[int, ...]


@dataclass(frozen=True)
class ExpressionTokenizer(StoredIdTokenizer):
    """Encodes and decodes expressions with the 91 published tokens; it has no options."""

    @property
    def name(self) -> str:
        return "expressions"

    @property
    def first_id(self) -> int:
        return 0

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The token of each id."""
        return TOKENS

    @property
    def published_start(self) -> tuple[str, ...]:
        return TOKENS

    @cached_property
    def format(self) -> PrefixFormat:
        arity = {**ARITY, "INT+": 0, "INT-": 0}
        return PrefixFormat(len(TOKENS), tuple(arity.get(token, -1) for token in TOKENS))
