"""Parameters of the stages ``generate`` and ``evaluate``: bounds, defaults and descriptions."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mathpipe.datasets.errors import UserError, nearest
from mathpipe.generate.build.dataset_builder import existing_shard_rows
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
from mathpipe.pipeline.config.resolution import DIMENSIONS, Section, merge, validate
from mathpipe.train.config import TrainConfig

MATRIX_PARAMETERS = {
    *("rectangular", "entries", "max_coeff", "min_coeff", "spectrum", "task_tokens", "round_problems", "noise"),
}
EXPRESSION_PARAMETERS = {  # parameter -> field of ExpressionSpec
    **{name: name for name in ("few_share", "operators", "variable_share", "max_int", "max_len", "family", "simplify")},
    "min_ops": "min_operators",
    "max_ops": "max_operators",
}
BIT_PARAMETERS = ("bits", "masked")
_SPLIT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def parse_extra_tests(value: object) -> object:
    """Parse ``["far:spectrum=laplace,semicircle,n=5k"]`` as {"far": {"spectrum": "laplace,semicircle", "n": "5k"}}.

    A part without ``=`` continues the previous value, so values may contain commas. A dict is returned unchanged.
    """
    if isinstance(value, str) or not isinstance(value, list | tuple):
        return value if value is not None else {}
    splits: dict[str, dict[str, Any]] = {}
    for text in value:
        name, colon, rest = str(text).partition(":")
        if not colon or not _SPLIT_NAME.fullmatch(name) or name in splits:
            raise ValueError(
                f"{text!r} is not an extra test split: write name:key=value with unique names, such as far:spectrum=laplace"
            )
        parameters: dict[str, Any] = {}
        for part in rest.split(","):
            key, equals, setting = part.partition("=")
            if equals:
                parameters[key.strip()] = setting
            elif parameters:
                parameters[list(parameters)[-1]] += f",{part}"
            else:
                raise ValueError(f"{text!r}: {part!r} is not key=value")
        splits[name] = parameters
    return splits


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


ExtraTests = Annotated[dict[str, dict[str, Any]], BeforeValidator(parse_extra_tests)]


class GenerateParams(BaseModel):
    """What to generate: the task, how its problems are sampled, and the size of each split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str = Field(description="task name; `mathpipe tasks` lists them")
    n: Count = Field(1_000_000, description="size of the training split, such as 500, 10k, 50M or 1e6")
    valid: Count = Field(
        10_000, description="size of the validation split; for expressions the default is at most n/14"
    )
    test: Count = Field(10_000, description="size of the test split; for expressions the default is at most n/14")
    seed: Annotated[int, Field(ge=0, lt=2**64)] = Field(0, description="seed of the random generator")
    dim: Dimension | None = Field(None, description="matrices are dim x dim  [default: 5]")
    min_dim: Dimension | None = Field(None, description="smallest dimension; each problem samples one uniformly")
    max_dim: Dimension | None = Field(None, description="largest dimension")
    rectangular: bool = Field(False, description="sample the numbers of rows and columns independently")
    rows: Dimension | None = Field(None, description="fixed number of rows, with --cols")
    cols: Dimension | None = Field(None, description="fixed number of columns, with --rows")
    entries: Literal["uniform", "gaussian"] = Field(
        "uniform", description="distribution of the entries: U(-c, c) or N(0, c^2/3)"
    )
    max_coeff: Annotated[float, Field(gt=1e-6, le=1e6, allow_inf_nan=False)] = Field(
        10.0, description="c, the largest coefficient"
    )
    min_coeff: Annotated[int, Field(ge=1)] | None = Field(
        None, description="sample c for each problem from the integers min_coeff..max_coeff"
    )
    noise: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = Field(
        0.0,
        description="noise level sigma: noise of scale c sigma / sqrt(3) on the problem; the solution is that of the clean problem",
    )
    spectrum: Spectra | None = Field(
        None,
        description="eigenvalue distributions of symmetric problems, such as laplace,semicircle  [default: semicircle]",
    )
    task_tokens: str | None = Field(
        None, description="co-training: the tasks to mix, by task token  [default: TADMEFI]"
    )
    round_problems: bool = Field(
        True, description="round problems to 3 digits before solving, so that solutions are exact"
    )
    min_ops: Annotated[int, Field(ge=0, le=50)] | None = Field(
        None, description="expressions: smallest number of operators  [default: by task]"
    )
    max_ops: Annotated[int, Field(ge=0, le=50)] | None = Field(
        None, description="expressions: largest number of operators"
    )
    few_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="expressions: proportion with fewer than --min-ops operators"
    )
    operators: Weights | None = Field(
        None, description="expressions: operator weights that replace the defaults, such as div:0,tan:0"
    )
    variable_share: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="expressions: probability that a leaf is x rather than an integer"
    )
    max_int: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="expressions: integers are 1..max_int"
    )
    max_len: Annotated[int, Field(ge=4, le=4096)] | None = Field(
        None, description="expressions: largest number of tokens of a problem or solution"
    )
    family: Family | None = Field(None, description="expressions: functions to sample from, all or one family")
    simplify: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="expressions: proportion of problems that are simplified"
    )
    bits: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="bit tasks: number of bits of each pattern  [default: by task]"
    )
    masked: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="bit tasks: probability that a bit of the query is masked"
    )
    extra_test: ExtraTests = Field(
        {}, description="an additional test split with its own spec, such as far:spectrum=laplace,n=5k; may be repeated"
    )
    shard_rows: Count | None = Field(
        None, description="examples per shard, rounded to whole chunks  [default: by size]"
    )

    @model_validator(mode="after")
    def _dimensions(self) -> Self:
        options = [
            self.dim is not None,
            self.min_dim is not None or self.max_dim is not None,
            self.rows is not None or self.cols is not None,
        ]
        if sum(options) > 1:
            raise ValueError("give only one of dim, min_dim with max_dim, and rows with cols")
        if (self.min_dim is None) != (self.max_dim is None):
            raise ValueError("give both min_dim and max_dim")
        return self

    def spec(self) -> DatasetSpec:
        """The dataset spec of these parameters; UserError if the task cannot sample problems with them."""
        task = get_task(self.task)
        if isinstance(task, SequenceTask):
            return self._bit_spec(task) if task.kind == "bits" else self._expression_spec(task)
        return self._matrix_spec(task)

    def _matrix_spec(self, task: Task) -> DatasetSpec:
        self._reject_parameters({*EXPRESSION_PARAMETERS, *BIT_PARAMETERS}, MATRIX_PARAMETERS | DIMENSIONS, "matrices")
        shape = {"min_dim": self.min_dim or self.dim or 5, "max_dim": self.max_dim or self.dim or 5}
        if self.rows is not None:
            shape = {"min_dim": 1, "max_dim": 1}  # unused: rows and cols are fixed
        parameters = self.model_dump(include={*MATRIX_PARAMETERS, "rows", "cols"})
        problems = validate(MatrixSpec, {**shape, **parameters}, "generate")
        task.check(problems)
        return DatasetSpec(task=self.task, problems=problems, seed=self.seed, chunk_rows=task.chunk_rows(problems))

    def _expression_spec(self, task: SequenceTask) -> DatasetSpec:
        self._reject_parameters(
            {*MATRIX_PARAMETERS, *DIMENSIONS, *BIT_PARAMETERS}, EXPRESSION_PARAMETERS.keys(), "expressions"
        )
        assert isinstance(task.example, ExpressionSpec)
        settings = {field: getattr(self, name) for name, field in EXPRESSION_PARAMETERS.items()}
        values = task.example.model_dump() | {field: value for field, value in settings.items() if value is not None}
        if values["min_operators"] > values["max_operators"]:
            raise UserError(
                f"--min-ops {values['min_operators']} is above --max-ops {values['max_operators']}",
                expected=f"--min-ops at most --max-ops (the defaults of {task.name} are "
                f"{task.example.min_operators} and {task.example.max_operators})",
                next_step="give both",
            )
        problems = validate(ExpressionSpec, values, "generate")
        task.check(problems)
        return DatasetSpec(task=self.task, problems=problems, seed=self.seed, chunk_rows=task.chunk_rows)

    def _bit_spec(self, task: SequenceTask) -> DatasetSpec:
        self._reject_parameters({*MATRIX_PARAMETERS, *DIMENSIONS, *EXPRESSION_PARAMETERS}, BIT_PARAMETERS, "bits")
        settings = {name: value for name in BIT_PARAMETERS if (value := getattr(self, name)) is not None}
        problems = validate(BitSpec, {**task.example.model_dump(), **settings}, "generate")
        task.check(problems)
        problems = problems if task.resolve_spec is None else task.resolve_spec(problems)
        rows = task.chunk_rows if task.chunk_rows_for is None else task.chunk_rows_for(problems)
        return DatasetSpec(task=self.task, problems=problems, seed=self.seed, chunk_rows=rows)

    def _reject_parameters(self, inapplicable: Collection[str], applicable: Collection[str], problem_type: str) -> None:
        """UserError if a parameter is set that does not apply to this type of problem."""
        rejected = sorted(
            name for name in self.model_fields_set & set(inapplicable) if getattr(self, name) not in (None, ())
        )
        if rejected:
            raise UserError(
                f"{self.task} is a task of {problem_type}, to which {', '.join(map(_flag, rejected))} does not apply",
                expected=f"any of {', '.join(map(_flag, sorted(applicable)))}",
                got=", ".join(f"{_flag(name)} {getattr(self, name)}" for name in rejected),
                next_step="leave it out, or choose another task (see `mathpipe tasks`)",
            )

    def split_specs(self, spec: DatasetSpec) -> dict[str, DatasetSpec]:
        """The specs of the extra test splits ``test-<name>``: these parameters, with the changes of each split."""
        specs = {}
        applicable = _parameters_of(spec.problems)
        for name, changes in self.extra_test.items():
            changed = {key: value for key, value in changes.items() if key != "n"}
            unknown = next((key for key in changed if key not in applicable), None)
            if unknown is not None:
                suggestion = nearest(unknown, applicable)
                raise UserError(
                    f"extra test split {name}: unknown parameter {unknown!r}",
                    expected=f"n, or one of {', '.join(sorted(applicable))}",
                    got=repr(unknown),
                    next_step=f"did you mean {suggestion}?" if suggestion else None,
                )
            values = merge(self.model_dump(include={"task", "seed", *applicable}, exclude_unset=True), changed)
            split_spec = validate(GenerateParams, values, f"generate.extra_test.{name}").spec()
            assert isinstance(split_spec.problems, MatrixSpec | SequenceSpec)
            specs[f"{TEST}-{name}"] = spec.with_problems(split_spec.problems, split_spec.chunk_rows)
        return specs

    def _held_out_rows(self, spec: DatasetSpec, name: Literal["valid", "test"]) -> int:
        """Size of valid or test: as given, else the default.

        Expensive pairs are all sampled from one stream, so there the default is at most what n training examples bring along.
        """
        rows: int = getattr(self, name)
        if name in self.model_fields_set or isinstance(spec.problems, MatrixSpec):
            return rows
        if isinstance(spec.problems, BitSpec):
            return int(min(rows, distinct_of_split(spec, name)))
        return min(rows, math.ceil(self.n * share(name) / share(TRAIN)))

    def layout(self, spec: DatasetSpec, out: str) -> Layout:
        """Sizes of splits and shards; shards as given, else as in an existing dataset of this spec, else by size."""
        splits = {TRAIN: self.n, VALID: self._held_out_rows(spec, "valid"), TEST: self._held_out_rows(spec, "test")}
        for name, changes in self.extra_test.items():
            try:
                splits[f"{TEST}-{name}"] = parse_count(changes.get("n", splits[TEST]))
            except ValueError as error:
                raise UserError(f"extra test split {name}: {error}") from None
        if self.shard_rows is not None:
            shard_rows = whole_chunks(self.shard_rows, spec.chunk_rows)
        else:
            chunks = max(-(-rows // rows_per_chunk(spec, split)) for split, rows in splits.items())
            shard_rows = existing_shard_rows(out, spec) or default_shard_rows(chunks * spec.chunk_rows, spec.chunk_rows)
        by_split = {
            split: whole_chunks(shard_rows, split_spec.chunk_rows)
            for split, split_spec in self.split_specs(spec).items()
        }
        return Layout(splits, shard_rows, {split: rows for split, rows in by_split.items() if rows != shard_rows})


def _parameters_of(problems: object) -> Collection[str]:
    """The parameters that apply to problems of this type."""
    if isinstance(problems, MatrixSpec):
        return MATRIX_PARAMETERS | DIMENSIONS
    return BIT_PARAMETERS if isinstance(problems, BitSpec) else EXPRESSION_PARAMETERS.keys()


class EvaluateParams(BaseModel):
    """How to evaluate a trained model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str = Field("test", description="split of the dataset")
    limit: Count | None = Field(
        None, description="evaluate only this many examples, from the start of the split  [default: all]"
    )
    checkpoint: str = Field(
        "last",
        description="checkpoint: last, best (by best_metric), or a file of the run, such as checkpoints/step-00001000.pt",
    )
    batch: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="number of hypotheses decoded together  [default: 512 on a CPU, 2,048 on a GPU]"
    )
    beam: Annotated[int, Field(ge=1, le=1000)] = Field(1, description="beam width; 1 is greedy decoding")
    length_penalty: Annotated[float, Field(ge=0, le=10)] = Field(
        1.0, description="p: beam hypotheses are ranked by log probability / length^p"
    )
    early_stopping: bool = Field(
        True, description="end beam search once as many hypotheses as the beam width are complete"
    )
    temperature: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = Field(
        0.0, description="sample at this temperature; 0 turns sampling off"
    )
    samples: Annotated[int, Field(ge=1, le=1000)] = Field(1, description="number of samples per problem")
    seed: Annotated[int, Field(ge=0, lt=2**64)] = Field(0, description="seed of the samples")
    constrained: bool = Field(False, description="allow only tokens that can continue a well-formed answer")
    workers: Annotated[int, Field(ge=0, le=1000)] = Field(
        0, description="number of processes that verify expressions; 0 verifies in this process"
    )

    @model_validator(mode="after")
    def _one_decoding_method(self) -> Self:
        if self.temperature and self.beam > 1:
            raise ValueError("give either a beam width or a temperature, not both")
        if self.samples > 1 and not self.temperature:
            raise ValueError("several samples need a temperature, such as 1.0")
        return self


MODELS: dict[Section, type[BaseModel]] = {"generate": GenerateParams, "train": TrainConfig, "evaluate": EvaluateParams}
