"""What the stages ``generate`` and ``evaluate`` can be told: their parameters, with bounds, defaults and descriptions."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mathpipe.datasets.errors import UserError, nearest
from mathpipe.generate.build.dataset_builder import kept_shard_rows
from mathpipe.generate.build.sequence_chunks import rows_per_chunk
from mathpipe.generate.layout import Layout, default_shard_rows, whole_chunks
from mathpipe.generate.spec import (
    BitSpec,
    DatasetSpec,
    Dimension,
    ExpressionSpec,
    Family,
    MatrixSpec,
    SequenceSpec,
    Spectra,
    Weights,
)
from mathpipe.generate.splits import TEST, TRAIN, VALID, share
from mathpipe.generate.tasks.registry import SequenceTask, Task, distinct_of_split, get_task
from mathpipe.pipeline.config.counts import Count, parse_count
from mathpipe.pipeline.config.resolution import DIMENSIONS, Section, overlaid, validated
from mathpipe.train.config import TrainConfig

DRAWN = {
    *("rectangular", "entries", "max_coeff", "min_coeff", "spectrum", "task_tokens", "round_problems", "noise"),
}
EXPRESSIONS = {  # parameter -> what the spec calls it
    **{name: name for name in ("few_share", "operators", "variable_share", "max_int", "max_len", "family", "simplify")},
    "min_ops": "min_operators",
    "max_ops": "max_operators",
}
BITS = ("bits", "masked")
_SPLIT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def parse_extra_tests(given: object) -> object:
    """``["far:spectrum=laplace,semicircle,n=5k"]`` as {"far": {"spectrum": "laplace,semicircle", "n": "5k"}}; a dict as it is.

    A part without ``=`` belongs to the value before it, so that values may hold commas.
    """
    if isinstance(given, str) or not isinstance(given, list | tuple):
        return given if given is not None else {}
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        name, colon, rest = str(text).partition(":")
        if not colon or not _SPLIT_NAME.fullmatch(name) or name in found:
            raise ValueError(
                f"{text!r} names no extra test split: write name:key=value, each name once, such as far:spectrum=laplace"
            )
        values: dict[str, Any] = {}
        for part in rest.split(","):
            key, equals, value = part.partition("=")
            if equals:
                values[key.strip()] = value
            elif values:
                values[list(values)[-1]] += f",{part}"
            else:
                raise ValueError(f"{text!r}: {part!r} is no key=value")
        found[name] = values
    return found


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


ExtraTests = Annotated[dict[str, dict[str, Any]], BeforeValidator(parse_extra_tests)]


class GenerateParams(BaseModel):
    """What to generate: a task, how its problems are drawn, and how many rows of each split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str = Field(description="which task; `mathpipe tasks` lists them")
    n: Count = Field(1_000_000, description="rows of the training split, such as 500, 10k, 50M or 1e6")
    valid: Count = Field(
        10_000, description="rows of the validation split; of expressions no more than a 14th of n unless given"
    )
    test: Count = Field(
        10_000, description="rows of the test split; of expressions no more than a 14th of n unless given"
    )
    seed: Annotated[int, Field(ge=0, lt=2**64)] = Field(0, description="another seed draws other rows")
    dim: Dimension | None = Field(None, description="n of n x n matrices  [default: 5]")
    min_dim: Dimension | None = Field(None, description="smallest n, drawn uniformly for each problem")
    max_dim: Dimension | None = Field(None, description="largest n")
    rectangular: bool = Field(False, description="draw rows and columns independently")
    rows: Dimension | None = Field(None, description="fixed number of rows, with --cols")
    cols: Dimension | None = Field(None, description="fixed number of columns, with --rows")
    entries: Literal["uniform", "gaussian"] = Field(
        "uniform", description="spec of the entries: U(-c, c) or N(0, c^2/3)"
    )
    max_coeff: Annotated[float, Field(gt=1e-6, le=1e6, allow_inf_nan=False)] = Field(
        10.0, description="c, the largest coefficient"
    )
    min_coeff: Annotated[int, Field(ge=1)] | None = Field(
        None, description="draw c for each problem from the integers min..max"
    )
    noise: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = Field(
        0.0, description="sigma: noise on the written problem, of c sigma / sqrt 3; the answer is the clean one's"
    )
    spectrum: Spectra | None = Field(
        None, description="of symmetric problems, one or several by commas: laplace,semicircle  [default: semicircle]"
    )
    task_tokens: str | None = Field(
        None, description="of co-training, which tasks by their task_tokens  [default: TADMEFI]"
    )
    round_problems: bool = Field(
        True, description="round problems to 3 digits before solving, so that answers are exact"
    )
    min_ops: Annotated[int, Field(ge=0, le=50)] | None = Field(
        None, description="of expressions, the fewest operators drawn  [default: by task]"
    )
    max_ops: Annotated[int, Field(ge=0, le=50)] | None = Field(None, description="the most operators drawn")
    few_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="share of expressions with fewer than --min-ops"
    )
    operators: Weights | None = Field(None, description="weights of operators drawn otherwise, such as div:0,tan:0")
    variable_share: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="chance of a leaf to be x, else it is an integer"
    )
    max_int: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(None, description="integer leaves are 1..max_int")
    max_len: Annotated[int, Field(ge=4, le=4096)] | None = Field(
        None, description="words of the longest problem or solution"
    )
    family: Family | None = Field(None, description="functions drawn from: all, or one family")
    simplify: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="share of problems simplified before they are written"
    )
    bits: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="of bit tasks, n: bits of each pattern  [default: by task]"
    )
    masked: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="of bit tasks, chance of a bit of the query to be hidden"
    )
    extra_test: ExtraTests = Field(
        {}, description="one more test split with its own spec, such as far:spectrum=laplace,n=5k; may be repeated"
    )
    shard_rows: Count | None = Field(None, description="rows a shard, rounded to whole chunks  [default: by size]")

    @model_validator(mode="after")
    def _dimensions(self) -> Self:
        ways = [
            self.dim is not None,
            self.min_dim is not None or self.max_dim is not None,
            self.rows is not None or self.cols is not None,
        ]
        if sum(ways) > 1:
            raise ValueError("give dim, or min_dim with max_dim, or rows with cols, not several of them")
        if (self.min_dim is None) != (self.max_dim is None):
            raise ValueError("min_dim and max_dim go together")
        return self

    def spec(self) -> DatasetSpec:
        """The spec these parameters describe; UserError where the task cannot be drawn so."""
        task = get_task(self.task)
        if isinstance(task, SequenceTask):
            return self._bit_spec(task) if task.kind == "bits" else self._expression_spec(task)
        return self._matrix_spec(task)

    def _matrix_spec(self, task: Task) -> DatasetSpec:
        self._refuse({*EXPRESSIONS, *BITS}, DRAWN | DIMENSIONS, "matrices")
        shape = {"min_dim": self.min_dim or self.dim or 5, "max_dim": self.max_dim or self.dim or 5}
        if self.rows is not None:
            shape = {"min_dim": 1, "max_dim": 1}  # nothing is drawn: rows and cols are fixed
        drawn = self.model_dump(include={*DRAWN, "rows", "cols"})
        problems = validated(MatrixSpec, {**shape, **drawn}, "generate")
        task.check(problems)
        return DatasetSpec(task=self.task, problems=problems, seed=self.seed, chunk_rows=task.chunk_rows(problems))

    def _expression_spec(self, task: SequenceTask) -> DatasetSpec:
        self._refuse({*DRAWN, *DIMENSIONS, *BITS}, EXPRESSIONS.keys(), "expressions")
        assert isinstance(task.example, ExpressionSpec)
        named = {spec: getattr(self, name) for name, spec in EXPRESSIONS.items()}
        values = {**task.example.model_dump(), **{name: value for name, value in named.items() if value is not None}}
        if values["min_operators"] > values["max_operators"]:
            raise UserError(
                f"--min-ops {values['min_operators']} is above --max-ops {values['max_operators']}",
                expected=f"--min-ops and --max-ops in this order (of {task.name}, "
                f"{task.example.min_operators} and {task.example.max_operators} where not given)",
                next_step="give both",
            )
        problems = validated(ExpressionSpec, values, "generate")
        task.check(problems)
        return DatasetSpec(task=self.task, problems=problems, seed=self.seed, chunk_rows=task.chunk_rows)

    def _bit_spec(self, task: SequenceTask) -> DatasetSpec:
        self._refuse({*DRAWN, *DIMENSIONS, *EXPRESSIONS}, BITS, "bits")
        given = {name: value for name in BITS if (value := getattr(self, name)) is not None}
        problems = validated(BitSpec, {**task.example.model_dump(), **given}, "generate")
        task.check(problems)
        problems = problems if task.settled is None else task.settled(problems)
        rows = task.chunk_rows if task.rows_of_chunk is None else task.rows_of_chunk(problems)
        return DatasetSpec(task=self.task, problems=problems, seed=self.seed, chunk_rows=rows)

    def _refuse(self, others: Collection[str], own: Collection[str], made_of: str) -> None:
        """UserError where a parameter was given that tells nothing of problems made of this."""
        given = sorted(name for name in self.model_fields_set & set(others) if getattr(self, name) not in (None, ()))
        if given:
            raise UserError(
                f"{self.task} is made of {made_of} and knows no {', '.join(map(_flag, given))}",
                expected=f"any of {', '.join(map(_flag, sorted(own)))}",
                got=", ".join(f"{_flag(name)} {getattr(self, name)}" for name in given),
                next_step="leave it out, or choose another task (`mathpipe tasks` lists them)",
            )

    def split_specs(self, spec: DatasetSpec) -> dict[str, DatasetSpec]:
        """The specs of the extra test splits, ``test-<name>``: this one's parameters, save those that each names."""
        specs = {}
        known: Collection[str] = DRAWN | DIMENSIONS if isinstance(spec.problems, MatrixSpec) else EXPRESSIONS.keys()
        known = BITS if isinstance(spec.problems, BitSpec) else known
        for name, changes in self.extra_test.items():
            changed = {key: value for key, value in changes.items() if key != "n"}
            unknown = next((key for key in changed if key not in known), None)
            if unknown is not None:
                near = nearest(unknown, known)
                raise UserError(
                    f"extra test split {name}: unknown parameter {unknown!r}",
                    expected=f"n, or one of {', '.join(sorted(known))}",
                    got=repr(unknown),
                    next_step=f"did you mean {near}?" if near else None,
                )
            values = overlaid(self.model_dump(include={"task", "seed", *known}, exclude_unset=True), changed)
            own = validated(GenerateParams, values, f"generate.extra_test.{name}").spec()
            assert isinstance(own.problems, MatrixSpec | SequenceSpec)
            specs[f"{TEST}-{name}"] = spec.with_problems(own.problems, own.chunk_rows)
        return specs

    def _held_out(self, spec: DatasetSpec, name: Literal["valid", "test"]) -> int:
        """Rows of valid or test: as given; else the default, or what comes with n rows of train from one stream of dear pairs."""
        rows: int = getattr(self, name)
        if name in self.model_fields_set or isinstance(spec.problems, MatrixSpec):
            return rows
        if isinstance(spec.problems, BitSpec):
            return int(min(rows, distinct_of_split(spec, name)))
        return min(rows, math.ceil(self.n * share(name) / share(TRAIN)))

    def layout(self, spec: DatasetSpec, out: str) -> Layout:
        """How many rows of each split, and how they are cut: as asked, as an existing dataset of this spec is, or by size."""
        splits = {TRAIN: self.n, VALID: self._held_out(spec, "valid"), TEST: self._held_out(spec, "test")}
        for name, changes in self.extra_test.items():
            try:
                splits[f"{TEST}-{name}"] = parse_count(changes.get("n", splits[TEST]))
            except ValueError as error:
                raise UserError(f"extra test split {name}: {error}") from None
        if self.shard_rows is not None:
            size = whole_chunks(self.shard_rows, spec.chunk_rows)
        else:
            chunks = max(-(-rows // rows_per_chunk(spec, split)) for split, rows in splits.items())
            size = kept_shard_rows(out, spec) or default_shard_rows(chunks * spec.chunk_rows, spec.chunk_rows)
        own = self.split_specs(spec)
        cuts = {split: whole_chunks(size, own[split].chunk_rows) for split in own}
        return Layout(splits, size, {split: rows for split, rows in cuts.items() if rows != size})


class EvaluateParams(BaseModel):
    """How a trained model is examined."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str = Field("test", description="which split of the dataset")
    limit: Count | None = Field(None, description="only the first rows of it  [default: all]")
    checkpoint: str = Field(
        "last",
        description="last, best (by best_metric), or a file in the run's directory such as checkpoints/step-00001000.pt",
    )
    batch: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="hypotheses decoded together  [default: 512 on a CPU, 2,048 on a GPU]"
    )
    beam: Annotated[int, Field(ge=1, le=1000)] = Field(1, description="width of the beam; 1 decodes greedily")
    length_penalty: Annotated[float, Field(ge=0, le=10)] = Field(
        1.0, description="p: hypotheses of a beam are ranked by log probability / length^p"
    )
    early_stopping: bool = Field(
        True, description="end a beam search when as many hypotheses as it is wide are complete"
    )
    temperature: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = Field(
        0.0, description="draw answers at this temperature instead; 0 does not"
    )
    samples: Annotated[int, Field(ge=1, le=1000)] = Field(1, description="answers drawn for each problem")
    seed: Annotated[int, Field(ge=0, lt=2**64)] = Field(0, description="of the draws")
    constrained: bool = Field(False, description="only words that can continue a well-formed answer")
    workers: Annotated[int, Field(ge=0, le=1000)] = Field(
        0, description="processes that verify expressions; 0 verifies in this one"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.temperature and self.beam > 1:
            raise ValueError("give a beam or a temperature, not both")
        if self.samples > 1 and not self.temperature:
            raise ValueError("samples are drawn at a temperature: give one, such as 1.0")
        return self


MODELS: dict[Section, type[BaseModel]] = {"generate": GenerateParams, "train": TrainConfig, "evaluate": EvaluateParams}
