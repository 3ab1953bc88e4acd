"""What the import of expressions and of sequences shares: examples are pairs of token ids, with the task's own columns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.io.import_records import Fault, Fields
from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.generate.curate.import_parts.import_part import (
    Checked,
    GradedAnswers,
    Hashes,
    ImportPart,
    Mask,
    outcome_names,
)
from mathpipe.generate.dataset_spec import ImportedSpec, SourceFormat
from mathpipe.generate.splits import sequence_hash
from mathpipe.generate.tasks.token_task import TokenTask, has_unknown_ids


@dataclass(frozen=True)
class TokenValues:
    """An example: problem and solution as stored ids, and the values of the task's own columns."""

    problem: bytes
    solution: bytes
    columns: tuple[float, ...] = ()


class TokenPart(ImportPart):
    """Import of a problem type whose examples are ``TokenExamples``."""

    def optional_roles(self, task: TokenTask[Any]) -> tuple[str, ...]:
        return tuple(task.columns)

    def stored_columns(self, task: TokenTask[Any], source: SourceFormat) -> dict[str, Any]:
        """The task's own columns that the files have, with their NumPy types."""
        return {"columns": {name: dtype for name, dtype in task.columns.items() if name in source.columns}}

    @staticmethod
    def columns_of(spec: ImportedSpec) -> dict[str, str]:
        """Names and NumPy types of the imported columns besides problem and solution."""
        columns: dict[str, str] = (spec.model_extra or {}).get("columns", {})
        return columns

    def examples(self, task: TokenTask[Any], spec: ImportedSpec, values: Sequence[TokenValues]) -> TokenExamples:
        columns = {
            name: np.array([value.columns[k] for value in values], dtype=dtype)
            for k, (name, dtype) in enumerate(self.columns_of(spec).items())
        }
        problems, solutions = (
            Sequences.from_list([getattr(v, side) for v in values]) for side in ("problem", "solution")
        )
        return TokenExamples(np.zeros(len(values), dtype=np.int64), problems, solutions, columns)

    def stored_faults(
        self, task: TokenTask[Any], spec: ImportedSpec, examples: TokenExamples
    ) -> list[tuple[Mask, Fault]]:
        unknown = has_unknown_ids(examples, self.vocabulary_size(spec))
        return [(unknown, Fault("unknown ids", "holds an id outside the vocabulary"))]

    @abstractmethod
    def vocabulary_size(self, spec: ImportedSpec) -> int:
        """Number of different stored ids."""

    def batch(self, values: Sequence[bytes]) -> Sequences:
        return Sequences.from_list(values)

    def grade(
        self, task: TokenTask[Any], problems: Sequences, answers: Sequences, references: Sequences | None
    ) -> GradedAnswers:
        if references is None:
            references = Sequences.from_list([b""] * len(answers))  # equal to no answer
        return GradedAnswers(task.verify(problems, references, answers), [])

    def check(self, task: TokenTask[Any], examples: TokenExamples) -> Checked:
        accepted = task.accepts_stored(examples)
        if accepted is not None:
            return Checked.by_task(accepted)
        names = outcome_names(task, task.verify(examples.problems, examples.solutions, examples.solutions).outcome)
        return Checked(np.isin(names.astype(str), list(task.correct_outcomes)), names)

    def problem_hash(self, examples: TokenExamples, keys_from: int = 0) -> Hashes:
        return sequence_hash(examples.problems, keys_from=keys_from)


def malformed(role: str, expected: str, value: object) -> Fault:
    """A value of another type than expected."""
    return Fault(f"malformed {role}", f"{role}: expected {expected}, got {type(value).__name__} {ascii(value)[:40]}")


def read_tokens(role: str, value: object, stored: Sequence[str] = ()) -> str | list[str] | Fault:
    """The tokens of a list; a text as it is. ``stored``: the tokens of ids, where lists hold ids."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return malformed(role, "text or a list of tokens", value)
    tokens = []
    for item in value:
        if isinstance(item, int) and not isinstance(item, bool) and stored:
            if not 0 <= item < len(stored):
                return Fault(f"malformed {role}", f"{role}: expected ids 0 to {len(stored) - 1}, got {item}")
            tokens.append(stored[item])
        elif isinstance(item, str | int) and not isinstance(item, bool):
            tokens.append(str(item))
        else:
            return malformed(role, "a list of tokens", item)
    return tokens


def read_token_ids(
    side: str, values: Sequence[object], tokens_to_ids: Callable[[Sequence[str]], list[int]]
) -> tuple[list[list[int] | Fault], NDArray[np.int64]]:
    """(the token ids of each text or list of tokens, or a ``Fault``; the ids (n, longest + 1), each with END, padded with PAD)."""
    ids: list[list[int] | Fault] = []
    for value in values:
        tokens = read_tokens(side, value)
        try:
            token_list = tokens.split() if isinstance(tokens, str) else tokens
            ids.append(token_list if isinstance(token_list, Fault) else tokens_to_ids(token_list))
        except UserError as error:
            ids.append(Fault(f"malformed {side}", f"{side}: {error}"))
    width = max((len(each) for each in ids if not isinstance(each, Fault)), default=0) + 1
    padded = np.full((len(ids), width), PAD, dtype=np.int64)
    for row, each in zip(padded, ids, strict=True):
        if not isinstance(each, Fault):
            row[: len(each)], row[len(each)] = each, END
    return ids, padded


def read_columns(columns: Mapping[str, str], fields: Fields) -> tuple[float, ...] | Fault:
    """The values of the task's own columns, in the range of their types."""
    values = []
    for name, dtype in columns.items():
        number = _number(fields[name])
        limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
        if number is None or (limits and (number != int(number) or not limits.min <= number <= limits.max)):
            return malformed(name, f"a number of type {dtype}", fields[name])
        values.append(int(number) if limits else number)
    return tuple(values)


def _number(value: object) -> float | None:
    """A finite number, also from text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None
