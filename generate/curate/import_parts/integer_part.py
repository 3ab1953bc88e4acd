"""Import of integers in tuples and lists: nested lists, or tokens of an integer encoding.

The layouts are the task's, or those of a file that mathpipe wrote, or lists as deep as the first values are.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from mathpipe.datasets.containers.integer_layout import LayoutError, flatten, has_layout, parse_layout, unflatten
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.io.import_records import Fault, Fields
from mathpipe.datasets.tokenizers.integer_tokenizer import IntegerTokenizer
from mathpipe.datasets.tokenizers.tokenizer import DecodeStatus
from mathpipe.generate.curate.import_parts.import_part import (
    SIDES,
    Checked,
    GradedAnswers,
    Hashes,
    ImportPart,
    Mask,
    outcome_names,
    refuse_alphabet,
)
from mathpipe.generate.curate.import_parts.token_part import malformed, read_token_ids
from mathpipe.generate.dataset_spec import ImportedSpec, SourceFormat
from mathpipe.generate.splits import sequence_hash
from mathpipe.generate.tasks.integer_task import IntegerTask

_FIRST_RECORDS = 1_000  # whose depth decides on the layout
_MAX_DEPTH = 8
_ROUND_BRACKETS = str.maketrans("()", "[]")
Pair = tuple[list[int], list[int]]  # flat rows of problem and solution


class IntegerPart(ImportPart):
    """Nested integers of 64 bits."""

    problem_type = "integers"
    notations = ("lists", "tokens")
    default_encoding = "base1000"
    token_encodings = (("base1000", "base1000"), ("base10", "base10"))
    takes_layouts = True
    max_line_bytes = 1 << 20

    def optional_roles(self, task: IntegerTask[Any]) -> tuple[str, ...]:
        """None: a task's own columns follow from problem and solution."""
        return ()

    def stored_fields(
        self,
        task: IntegerTask[Any],
        source: SourceFormat,
        alphabet: tuple[str, ...] | None,
        read_all: Callable[[], Iterator[Fields]],
    ) -> dict[str, Any]:
        refuse_alphabet(self.problem_type, alphabet)
        layouts = source.stored_layouts
        if task.verifies:
            layouts = task.layout_of_problems(task.default_spec), task.solution_layout
        if layouts is None:
            layouts = _infer_layouts(source, itertools.islice(read_all(), _FIRST_RECORDS))
        problem, solution = (
            layout if name is None else str(parse_layout(name))
            for layout, name in zip(layouts, source.layouts, strict=True)
        )
        return {"problem_layout": problem, "solution_layout": solution, "columns": dict(task.columns)}

    def read(self, task: IntegerTask[Any], spec: ImportedSpec, fields: Sequence[Fields]) -> list[Any]:
        layouts = _layouts(spec)
        if spec.source.notation == "tokens":
            sides = [
                _decode(task, spec.source, k, layouts[k], [each[side] for each in fields])
                for k, side in enumerate(SIDES)
            ]
        else:
            sides = [
                [_flat_row(spec.source, k, layouts[k], each[side]) for each in fields] for k, side in enumerate(SIDES)
            ]
        results: list[Pair | Fault] = []
        for problem, solution in zip(*sides, strict=True):
            if isinstance(problem, Fault):
                results.append(problem)
            else:
                results.append(solution if isinstance(solution, Fault) else (problem, solution))
        return results

    def parse(self, task: IntegerTask[Any], spec: ImportedSpec, side: str, value: object) -> list[int] | Fault:
        """The flat row of a nested list; brackets may be round."""
        k = SIDES.index(side)
        text = value.translate(_ROUND_BRACKETS) if isinstance(value, str) else value
        row = _flat_row(spec.source, k, _layouts(spec)[k], text)
        if isinstance(row, Fault) or all(-(1 << 63) <= number < 1 << 63 for number in row):
            return row
        return Fault(f"malformed {side}", f"{side}: expected integers of 64 bits")

    def batch(self, values: Sequence[Sequence[int]]) -> IntegerSequences:
        return IntegerSequences.from_list(values)

    def grade(self, task: IntegerTask[Any], problems: Any, answers: Any, references: Any | None) -> GradedAnswers:
        """By the chosen parameters of the task, else its defaults."""
        if references is None:
            references = task.solve(problems, task.resolve(task.default_spec))
        return GradedAnswers(task.verify(problems, references, answers), [])

    def examples(self, task: IntegerTask[Any], spec: ImportedSpec, values: Sequence[Pair]) -> TokenExamples:
        problems, solutions = (IntegerSequences.from_list([value[k] for value in values]) for k in (0, 1))
        classes = task.classes(problems, solutions) if values else {}
        columns = {
            name: np.asarray(classes.get(name, np.empty(0)), dtype=dtype) for name, dtype in task.columns.items()
        }
        return TokenExamples(np.zeros(len(values), dtype=np.int64), problems, solutions, columns)

    def misfits(self, task: IntegerTask[Any], examples: Any) -> list[tuple[Mask, Fault]]:
        if not task.verifies or task.accepts_stored(examples.take(np.arange(0))) is not None:
            return []
        foreign = ~task.is_problem(examples.problems, task.resolve(task.default_spec))
        reason = f"problem: expected {task.problem} for {task.name} with {_shown_options(task)}"
        return [(foreign, Fault("not a problem of the task", reason))]

    def stored_faults(self, task: IntegerTask[Any], spec: ImportedSpec, examples: Any) -> list[tuple[Mask, Fault]]:
        problem, solution = _layouts(spec)
        readable = has_layout(problem, examples.problems) & has_layout(solution, examples.solutions)
        faults = [(~readable, Fault("wrong layout", "does not have the layout of its dataset"))]
        for mask, fault in self.misfits(task, examples.take(readable)):
            foreign = np.zeros(len(examples), dtype=np.bool_)
            foreign[readable] = mask
            faults.append((foreign, fault))
        return faults

    def check(self, task: IntegerTask[Any], examples: Any) -> Checked:
        """By the chosen parameters of the task, else its defaults."""
        accepted = task.accepts_stored(examples)
        if accepted is not None:
            return Checked.by_task(accepted)
        with np.errstate(all="ignore"):
            solved = task.solve(examples.problems, task.resolve(task.default_spec))
            outcome = task.verify(examples.problems, solved, examples.solutions).outcome
        names = outcome_names(task, outcome)
        return Checked(np.isin(names.astype(str), list(task.correct_outcomes)), names)

    def problem_hash(self, examples: Any, keys_from: int = 0) -> Hashes:
        return sequence_hash(examples.problems, keys_from=keys_from)


def _shown_options(task: IntegerTask[Any]) -> str:
    options = ", ".join(f"{name}={value}" for name, value in task.chosen_options.items())
    return f"the options {options}" if options else "its default options"


def _layouts(spec: ImportedSpec) -> tuple[str, str]:
    stored = spec.model_extra or {}
    return str(stored["problem_layout"]), str(stored["solution_layout"])


def _value(side: str, value: object) -> Any:
    """The nested value of a JSON text, or of a value that is one already."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return malformed(side, "integers such as 12 or [48, 36]", value)
    return value


def _flat_row(source: SourceFormat, k: int, layout: str, field: object) -> list[int] | Fault:
    """The flat row of a nested value; of a file that mathpipe wrote, the row itself."""
    side, value = SIDES[k], _value(SIDES[k], field)
    if isinstance(value, Fault):
        return value
    try:
        if source.stored_layouts is not None and source.stored_layouts[k] == layout and isinstance(value, list):
            unflatten(layout, value)
            return value
        return flatten(layout, value)
    except (LayoutError, RecursionError, TypeError) as error:
        reason = str(error).removeprefix("value").removeprefix(": ")
        return Fault(f"malformed {side}", f"{side}: expected {layout} ({reason})")


def _decode(task: IntegerTask[Any], source: SourceFormat, k: int, layout: str, values: Sequence[Any]) -> list[Any]:
    """The flat row of each text of tokens, or a ``Fault``."""
    side, encoding = SIDES[k], (source.encodings or ("base1000", "base1000"))[k]
    stated = task.ranges(task.default_spec).get(f"{side}_range")
    tokenizer = IntegerTokenizer.named(encoding, layout, stated)
    ids, padded = read_token_ids(side, values, tokenizer.tokens_to_ids)
    rows, status = tokenizer.decode(padded)
    wrong = Fault(f"malformed {side}", f"{side}: expected {layout} in {encoding}")
    return [
        each if isinstance(each, Fault) else (rows[i] if status[i] == DecodeStatus.OK else wrong)
        for i, each in enumerate(ids)
    ]


def _infer_layouts(source: SourceFormat, records: Iterator[Fields]) -> tuple[str, str]:
    """Lists as deep as the deepest of the first values, for problem and solution."""
    if source.notation == "tokens":
        return "[int]", "[int]"
    depths = dict.fromkeys(SIDES, 0)
    for fields in records:
        for side in SIDES:
            depths[side] = max(depths[side], _depth(_value(side, fields[side])))
    return (
        f"{'[' * depths['problem']}int{']' * depths['problem']}",
        f"{'[' * depths['solution']}int{']' * depths['solution']}",
    )


def _depth(value: object) -> int:
    """The number of lists inside each other; 0 for what is no list, and for lists that are too deep."""
    depth = 0
    while isinstance(value, list):
        depth += 1
        value = next((item for item in value if isinstance(item, list)), None)
    return depth if depth <= _MAX_DEPTH else 0
