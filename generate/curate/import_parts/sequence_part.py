"""Import of sequences over an alphabet: texts of tokens, or lists of them.

A text with spaces is divided at them; without, it is one token of the alphabet, or one token a character. The alphabet is the
task's, or given, or the tokens that occur in the files: divided at spaces if any value has one, otherwise the characters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.import_records import Fault, Fields
from mathpipe.datasets.tokenizers.sequence_tokenizer import MAX_ALPHABET, SequenceTokenizer
from mathpipe.generate.curate.import_parts.import_part import SIDES
from mathpipe.generate.curate.import_parts.token_part import (
    TokenPart,
    TokenValues,
    malformed,
    read_columns,
    read_tokens,
)
from mathpipe.generate.dataset_spec import ImportedSpec, SourceFormat
from mathpipe.generate.tasks.token_task import SequenceTask


class SequencePart(TokenPart):
    """Sequences of up to 250 different tokens."""

    problem_type = "sequences"
    notations = ("tokens", "lists")
    max_line_bytes = 1 << 20

    def stored_fields(
        self,
        task: SequenceTask[Any],
        source: SourceFormat,
        alphabet: tuple[str, ...] | None,
        read_all: Callable[[], Iterator[Fields]],
    ) -> dict[str, Any]:
        if alphabet is not None and task.alphabet and alphabet != task.alphabet:
            raise UserError(
                f"{task.name} has an alphabet of its own",
                expected=" ".join(task.alphabet),
                got=" ".join(alphabet),
                next_step="leave --alphabet out, or pass --task none",
            )
        tokens = alphabet or task.alphabet or source.stored_tokens or _infer_alphabet(source, read_all())
        SequenceTokenizer(tokens)  # UserError for an invalid alphabet
        return {"alphabet": list(tokens), **self.stored_columns(task, source)}

    def vocabulary_size(self, spec: ImportedSpec) -> int:
        return len(_alphabet(spec))

    def read(self, task: SequenceTask[Any], spec: ImportedSpec, fields: Sequence[Fields]) -> list[TokenValues | Fault]:
        ids = {token: k for k, token in enumerate(_alphabet(spec))}
        return [self._value(spec, ids, each) for each in fields]

    def parse(self, task: SequenceTask[Any], spec: ImportedSpec, side: str, value: object) -> bytes | Fault:
        ids = {token: k for k, token in enumerate(_alphabet(spec))}
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        return _parse(spec.source, ids, side, text)

    def _value(self, spec: ImportedSpec, ids: dict[str, int], fields: Fields) -> TokenValues | Fault:
        sides = []
        for side in SIDES:
            stored = _parse(spec.source, ids, side, fields[side])
            if isinstance(stored, Fault):
                return stored
            sides.append(stored)
        columns = read_columns(self.columns_of(spec), fields)
        return columns if isinstance(columns, Fault) else TokenValues(sides[0], sides[1], columns)


def _alphabet(spec: ImportedSpec) -> list[str]:
    alphabet: list[str] = (spec.model_extra or {})["alphabet"]
    return alphabet


def _parse(source: SourceFormat, ids: dict[str, int], side: str, value: object) -> bytes | Fault:
    tokens = _tokens(source, side, value)
    return tokens if isinstance(tokens, Fault) else _to_ids(side, tokens, ids)


def _tokens(source: SourceFormat, side: str, value: object) -> str | list[str] | Fault:
    """The tokens of a list, or a text of tokens."""
    if source.notation == "lists" and isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return malformed(side, 'a list such as ["a", "b"] or [1, 2]', value)
        if not isinstance(value, list):
            return malformed(side, "a list", value)
    return read_tokens(side, value, source.stored_tokens)


def _to_ids(side: str, tokens: str | list[str], ids: dict[str, int]) -> bytes | Fault:
    if isinstance(tokens, str):
        parts = tokens.split()
        whole = len(parts) != 1 or parts[0] in ids
        tokens = parts if whole else list(parts[0])
    try:
        stored = bytes([ids[token] for token in tokens])
    except KeyError as error:
        alphabet = " ".join(list(ids)[:20]) + (" ..." if len(ids) > 20 else "")
        return Fault(
            f"malformed {side}", f"{side}: expected tokens of the alphabet {alphabet}, got {ascii(error.args[0])[:40]}"
        )
    return stored or Fault(f"malformed {side}", f"{side}: no tokens")


def _infer_alphabet(source: SourceFormat, records: Iterable[Fields]) -> tuple[str, ...]:
    """All tokens of the files in order: integers by value, then the others. UserError for more than 250."""
    tokens: set[str] = set()  # divided at spaces
    characters: set[str] = set()
    spaced = False
    for fields in records:
        for side in SIDES:
            value = _tokens(source, side, fields[side])
            if isinstance(value, Fault):
                continue
            parts = value.split() if isinstance(value, str) else value
            spaced = spaced or len(parts) > 1 or not isinstance(value, str)
            if len(tokens) <= MAX_ALPHABET:
                tokens.update(parts)
            if not spaced:
                characters.update("".join(parts))
        if spaced and len(tokens) > MAX_ALPHABET:
            break
    alphabet = tokens if spaced else characters
    if len(alphabet) > MAX_ALPHABET:
        raise UserError(
            f"the files hold more than {MAX_ALPHABET} different tokens",
            expected=f"sequences over an alphabet of at most {MAX_ALPHABET} tokens",
            got=" ".join(sorted(alphabet)[:10]) + " ...",
            next_step="name the tokens with --alphabet; other lines are then rejected",
        )
    return tuple(sorted(alphabet, key=_token_order))


def _token_order(token: str) -> tuple[bool, int, str]:
    is_integer = token.removeprefix("-").isdecimal() and token.isascii() and len(token) < 20
    return not is_integer, int(token) if is_integer else 0, token
