"""Tasks of examples: the loop around ``example(rng, spec)`` of a module or object outside the package.

Batch k of a chunk holds ``BATCH`` examples from one generator, ``generator(k)``, in order; example i of the chunk is number i mod
``BATCH`` of batch i // ``BATCH``. Each goes to the split that the hash of its problem names, so some are not stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from copy import copy
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ValidationError, create_model

from mathpipe.datasets.containers.integer_layout import parse_layout
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.generate.chunks.chunk_examples import ChunkExamples
from mathpipe.generate.chunks.pair_chunks import Columns, Generators, Pairs
from mathpipe.generate.dataset_spec import DatasetSpec, ProblemSpec
from mathpipe.generate.outcomes import RowFault, Verification
from mathpipe.generate.problem_specs.integer_spec import IntegerSpec
from mathpipe.generate.problem_specs.sequence_spec import SequenceSpec
from mathpipe.generate.splits import in_split, sequence_hash
from mathpipe.generate.tasks.external.example_definition import PAIR, ExampleDefinition, shown
from mathpipe.generate.tasks.external.example_values import (
    ExampleValues,
    ExpressionValues,
    IntegerValues,
    StringValues,
    WrongValue,
    infer_layout,
)
from mathpipe.generate.tasks.integer_task import CLASS, IntegerTask
from mathpipe.generate.tasks.task import Mask
from mathpipe.generate.tasks.token_task import ExpressionTask, SequenceTask, TokenTask, Wanted

BATCH = 64
CHUNK_ROWS = 1_000
_INFERENCE_EXAMPLES = 256  # how many examples are looked at for the layout
_CHUNK: ContextVar[int] = ContextVar("chunk", default=0)


class ExpressionExampleSpec(ProblemSpec):
    """The parameters of a task of expressions outside the package are its own."""

    kind: Literal["expressions"] = "expressions"
    evidence: ClassVar[str] = "any"  # such a task has no proofs to select by


class ExampleTask(TokenTask[Any]):
    """A task whose examples are computed one by one. ``values``: how problems and answers are stored."""

    definition: ClassVar[ExampleDefinition]
    problem_values: ClassVar[ExampleValues]
    answer_values: ClassVar[ExampleValues]
    may_repeat = True
    needs_reference = True

    def chunk_rows(self, spec: Any) -> int:
        return CHUNK_ROWS

    def build_chunk(self, spec: DatasetSpec, chunk: int, splits: Sequence[str]) -> dict[str, ChunkExamples]:
        token = _CHUNK.set(chunk)
        try:
            return super().build_chunk(spec, chunk, splits)
        finally:
            _CHUNK.reset(token)

    def pairs(self, spec: Any, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
        batch, chunk = 0, _CHUNK.get()
        while True:
            first = batch * BATCH

            def describe(number: int, first: int = first) -> str:
                return f"example {number:,} of chunk {chunk:,}"

            values = self.definition.examples(generator(batch), spec, first, BATCH, describe)
            yield self._stored(values, first, describe)
            batch += 1

    def _stored(self, values: list[tuple[Any, Any]], first: int, describe: Any) -> Pairs:
        """The rows of these examples; UserError names the first whose type is wrong, or whose answer ``verify`` rejects."""
        problems, answers = list[Sequence[int]](), list[Sequence[int]]()
        for k, (problem, answer) in enumerate(values):
            for side, stored, rows, value in (
                ("problem", self.problem_values, problems, problem),
                ("answer", self.answer_values, answers, answer),
            ):
                try:
                    rows.append(stored.to_row(value))
                except WrongValue as error:
                    raise self._wrong_type(describe(first + k), side, stored, value, error) from None
        self._check_answers(values, lambda k: describe(first + k))
        columns: Columns = {}
        if self.definition.answer_class is not None:
            classes = self.definition.classes(values, lambda k: describe(first + k))
            columns[CLASS] = np.array(classes, dtype=np.int64)
        return Pairs(self.problem_values.to_rows(problems), self.answer_values.to_rows(answers), columns)

    def _wrong_type(self, example: str, side: str, stored: ExampleValues, value: Any, error: WrongValue) -> UserError:
        return self.definition.error(
            self.definition.example,
            f"the {side} of {example} has the wrong type: {error}",
            stored.expected,
            shown(value),
            stored.hint(side),
        )

    def _check_answers(self, values: list[tuple[Any, Any]], describe: Any) -> None:
        """UserError if ``verify`` rejects an answer of ``example``."""
        definition = self.definition
        if definition.verify is None:
            return
        results = definition.verified([(problem, answer, answer) for problem, answer in values], describe)
        if not all(results):
            k = results.index(False)
            raise definition.error(
                definition.verify,
                f"verify rejects the answer of {describe(k)}",
                "True for verify(problem, answer, answer)",
                f"False for problem {shown(values[k][0])}, answer {shown(values[k][1])}",
                "correct example or verify",
            )

    def verify(self, problems: Any, references: Any, predicted: Any) -> Verification:
        """``exact``: the stored answer; ``equivalent``: another that ``verify`` of the task accepts."""
        names = self.outcomes
        readable, accepted = self._accepted(problems, references, predicted)
        outcome = np.where(readable, names.index("wrong_value"), names.index("malformed")).astype(np.int8)
        outcome[accepted] = names.index("equivalent")
        outcome[predicted.equals(references)] = names.index("exact")
        return Verification(outcome)

    def _accepted(self, problems: Any, references: Any, predicted: Any) -> tuple[Mask, Mask]:
        """(predictions that can be read (n,), those that differ from the reference and that ``verify`` accepts (n,))."""
        exact = predicted.equals(references)
        readable, accepted = exact.copy(), np.zeros(len(predicted), dtype=np.bool_)
        index, triples = [], []
        for i in np.flatnonzero(~exact).tolist():
            try:
                prediction = self.answer_values.to_value(predicted[i])
            except WrongValue:
                continue
            readable[i] = True
            if self.definition.verify is not None:
                index.append(i)
                problem = self.problem_values.to_value(problems[i])
                triples.append((problem, self.answer_values.to_value(references[i]), prediction))
        if triples:

            def describe(k: int) -> str:
                return f"verify of problem {shown(triples[k][0])}, prediction {shown(triples[k][2])}"

            accepted[index] = self.definition.verified(triples, describe)
        return readable, accepted

    def find_faults(self, spec: DatasetSpec, split: str, examples: Any, first: int) -> dict[RowFault, Mask]:
        """Stored values that cannot be read, that ``verify`` rejects, or that differ from those that the task generates again."""
        unreadable, rejected = self._examine(examples)
        faults = {
            RowFault("is in the wrong position"): examples.row != np.arange(first, first + len(examples)),
            RowFault("holds a value of another type"): unreadable,
            RowFault("its solution is not correct (verify of the task rejects it)", "solution"): rejected,
        }
        faults[RowFault(f"its problem does not belong to {split}")] = ~in_split(sequence_hash(examples.problems), split)
        if spec.deduplicated is None and len(examples):
            generated = self._generate_again(spec, split, first, len(examples))
            differs = ~(examples.problems.equals(generated.problems) & examples.solutions.equals(generated.solutions))
            for name, column in generated.columns.items():
                differs |= column != examples.columns[name]
            faults[RowFault("is not the example that the task generates")] = differs
        return faults

    def accepts_stored(self, examples: Any) -> Mask:
        """Those that can be read and that ``verify`` of the task, if it has one, accepts."""
        unreadable, rejected = self._examine(examples)
        return ~(unreadable | rejected)

    def _generate_again(self, spec: DatasetSpec, split: str, first: int, count: int) -> TokenExamples:
        rows = self.rows_per_chunk(spec, split)
        chunks = range(first // rows, -(-(first + count) // rows))
        parts: list[Any] = [self.build_chunk(spec, chunk, [split])[split].examples for chunk in chunks]
        start = first - chunks.start * rows
        return TokenExamples.concatenate(parts).take(np.arange(start, start + count))

    def _examine(self, examples: TokenExamples) -> tuple[Mask, Mask]:
        """(examples that cannot be read (n,), those whose answer ``verify`` rejects (n,))."""
        unreadable, rejected = (np.zeros(len(examples), dtype=np.bool_) for _ in range(2))
        index, triples = [], []
        for i in range(len(examples)):
            try:
                problem = self.problem_values.to_value(examples.problems[i])
                answer = self.answer_values.to_value(examples.solutions[i])
            except WrongValue:
                unreadable[i] = True
                continue
            index.append(i)
            triples.append((problem, answer, answer))
        if triples and self.definition.verify is not None:
            results = self.definition.verified(triples, lambda k: f"verify of row {examples.row[index[k]]:,}")
            rejected[index] = ~np.array(results)
        return unreadable, rejected


class IntegerExamples(ExampleTask, IntegerTask[Any]):
    """Problems and answers are integers in tuples and lists."""

    def sample(self, rng: np.random.Generator, n: int, spec: Any) -> IntegerSequences:
        """Problems of examples, whose answers are lost: ``pairs`` keeps both."""
        values = self.definition.examples(rng, spec, 0, n, lambda number: f"example {number:,}")
        return IntegerSequences.from_list([self.problem_values.to_row(problem) for problem, _ in values])

    def solve(self, problems: IntegerSequences, spec: Any) -> IntegerSequences:
        raise UserError(f"{self.name} solves no given problem: it computes a problem together with its answer")

    def verify(self, problems: Any, references: Any, predicted: Any) -> Verification:
        return IntegerTask.verify(self, problems, references, predicted)

    def is_right(self, problems: Any, references: Any, predicted: Any) -> Mask:
        return self._accepted(problems, references, predicted)[1]


class StringExamples(ExampleTask, SequenceTask[Any]):
    """Problems and answers are strings over an alphabet."""

    outcomes = ("exact", "equivalent", "wrong_value", "malformed", "unterminated")
    correct_outcomes = frozenset({"exact", "equivalent"})

    def held_out_rows(self, spec: Any, split: str, n: int, default: int) -> int:
        return TokenTask.held_out_rows(self, spec, split, n, default)


class ExpressionExamples(ExampleTask, ExpressionTask):
    """Problems and answers are expressions."""

    def chunk_rows(self, spec: Any) -> int:
        return CHUNK_ROWS


def example_task(definition: ExampleDefinition, module: Any) -> ExampleTask:
    """The task of a definition. ``module``: where its spec model is stored, so that specs can be pickled."""
    base, spec_base = _problem_type(definition)
    spec_model = _spec_model(definition, spec_base, module)
    alphabet = tuple(dict.fromkeys(definition.alphabet or ""))
    try:
        default_spec = spec_model.model_validate({"alphabet": alphabet} if base is StringExamples else {})
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"{definition.path}: Spec has no valid default for {'.'.join(map(str, first['loc']))}",
            expected="a default for every field, such as max_int: int = Field(100, ge=1, description=...)",
            got=first["msg"],
        ) from None
    attributes: dict[str, Any] = {
        "__doc__": definition.description,
        "name": definition.name,
        "definition": definition,
        "problem": definition.description or "a problem of a task outside mathpipe",
        "source": definition.path,
        "spec_model": spec_model,
        "default_spec": default_spec,
        "columns": {CLASS: "int64"} if definition.answer_class is not None else {},
    }
    if base is StringExamples:
        attributes |= {"alphabet": alphabet, "problem_values": StringValues(alphabet)}
        attributes["answer_values"] = attributes["problem_values"]
    elif base is ExpressionExamples:
        attributes["problem_values"] = attributes["answer_values"] = ExpressionValues(str(definition.notation))
    else:
        problem_values, answer_values = _integer_values(definition, default_spec)
        attributes |= {"problem_values": problem_values, "problem_layout": problem_values.layout}
        attributes |= {"answer_values": answer_values, "solution_layout": answer_values.layout}
    attributes["solution"] = attributes["answer_values"].expected
    task: ExampleTask = type(base.__name__, (base,), attributes)()
    return task


def _problem_type(definition: ExampleDefinition) -> tuple[type[ExampleTask], type[ProblemSpec]]:
    """(base class, base of the spec): strings have an ``alphabet``, expressions a ``notation``, all others are integers."""
    if definition.alphabet is not None:
        return StringExamples, SequenceSpec
    if definition.notation is not None:
        return ExpressionExamples, ExpressionExampleSpec
    return IntegerExamples, IntegerSpec


def _integer_values(definition: ExampleDefinition, spec: Any) -> tuple[IntegerValues, IntegerValues]:
    """The layouts of problems and answers: those that the definition names, else those of the first examples."""
    layouts = (definition.problem_layout, definition.answer_layout)
    examples: list[tuple[Any, Any]] = []
    if None in layouts:
        rng = np.random.default_rng(0)
        examples = definition.examples(
            rng, spec, 0, _INFERENCE_EXAMPLES, lambda k: f"example {k:,} to infer the layout"
        )
    values = []
    for k, (side, layout) in enumerate(zip(("problem", "answer"), layouts, strict=True)):
        text = _inferred_layout(definition, side, [example[k] for example in examples]) if layout is None else layout
        values.append(IntegerValues(str(parse_layout(text)), inferred=layout is None))
    return values[0], values[1]


def _inferred_layout(definition: ExampleDefinition, side: str, values: list[Any]) -> str:
    """The layout of all values; UserError names the first that has another."""
    try:
        return infer_layout(values)
    except WrongValue:
        pass
    for k in range(len(values)):
        try:
            infer_layout(values[: k + 1])
        except WrongValue as error:
            raise definition.error(
                definition.example,
                f"the {side} of example {k:,} has the wrong type: {error}",
                "integers, tuples of a fixed length and lists of any length, of the same layout in every example",
                shown(values[k]),
                f'convert to int and list; name the layout ({side}_layout = "[int]"); strings need alphabet = "...", expressions '
                'notation = "infix"; matrices a subclass of MatrixTask',
            ) from None
    raise AssertionError("all values together have no layout, but each prefix has")


def _spec_model(definition: ExampleDefinition, base: type[ProblemSpec], module: Any) -> type[ProblemSpec]:
    """A model with the fields of ``Spec`` and those of the problem type; each field of ``Spec`` is an option."""
    user_model: type[BaseModel] | None = definition.spec_model
    name = f"{definition.name.replace('-', '_')}_problems"
    if user_model is None:
        return base
    fields: dict[str, Any] = {}
    for field_name, field in user_model.model_fields.items():
        if field_name in base.model_fields:
            raise UserError(
                f"{definition.path}: Spec.{field_name} is a name that mathpipe uses itself",
                next_step="rename the field",
            )
        described = copy(field)
        described.description = field.description or field_name.replace("_", " ")
        fields[field_name] = (field.annotation, described)
    bases: Any = (user_model, base)
    setattr(module, name, create_model(name, __base__=bases, __module__=module.__name__, **fields))
    model: type[ProblemSpec] = getattr(module, name)
    return model


__all__ = ["PAIR", "ExampleTask", "example_task"]
