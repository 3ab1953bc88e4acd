"""Parameters of the stages ``generate`` and ``evaluate``: bounds, defaults and descriptions."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.datasets.format.directory import split_word
from mathpipe.generate.build.dataset_builder import existing_shard_rows
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout, default_shard_rows, whole_chunks
from mathpipe.generate.outcomes import Domain
from mathpipe.generate.splits import TEST, TRAIN, VALID
from mathpipe.generate.tasks.task import Task
from mathpipe.generate.tasks.task_registry import load_task
from mathpipe.pipeline.config.counts import Count, parse_count
from mathpipe.pipeline.config.parameter_files import Section
from mathpipe.pipeline.config.resolution import ParameterSource, resolve, user_errors, validate
from mathpipe.pipeline.config.typed_values import read_values
from mathpipe.train.config import TrainConfig

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


def _check_names(splits: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """ValueError for a name that is no folder name, or that readers of directories would take for another split."""
    for name in splits:
        if not _SPLIT_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not an extra test split: names consist of a-z, 0-9, - and _")
        if name == "default" or split_word(name):
            raise ValueError(
                f"{name!r} cannot name an extra test split: tools that read the directory would take it for "
                f"{'the main configuration' if name == 'default' else f'the split {split_word(name)!r}'}; choose another name"
            )
    return splits


ExtraTests = Annotated[dict[str, dict[str, Any]], BeforeValidator(parse_extra_tests), AfterValidator(_check_names)]


class GenerateParams(BaseModel):
    """What to generate: the task, the size of each split, and how its problems are sampled.

    ``spec``: the task's own parameters, ``Task.options``; their flags stand beside the others: ``--dim 5``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str = Field(
        description="task: a name (`mathpipe tasks` lists them), a file such as ./gcd.py, or my.module:Gcd"
    )
    n: Count = Field(1_000_000, description="size of the training split, such as 500, 10k, 50M or 1e6")
    valid: Count = Field(
        10_000, description="size of the validation split; except for matrices the default is at most n/14"
    )
    test: Count = Field(10_000, description="size of the test split; except for matrices the default is at most n/14")
    seed: Annotated[int, Field(ge=0, lt=2**64)] = Field(0, description="seed of the random generator")
    spec: dict[str, Any] = Field(default_factory=dict)
    extra_test: ExtraTests = Field(
        {}, description="an additional test split with its own spec, such as far:spectrum=laplace,n=5k; may be repeated"
    )
    shard_rows: Count | None = Field(
        None, description="examples per shard, rounded to whole chunks  [default: by size]"
    )

    @model_validator(mode="before")
    @classmethod
    def _task_parameters_in_spec(cls, values: Any) -> Any:
        """Say where the parameters of a task belong."""
        if isinstance(values, dict) and isinstance(values.get("task"), str):
            misplaced = sorted((values.keys() - cls.model_fields.keys()) & load_task(values["task"]).options().keys())
            if misplaced:
                raise ValueError(f"{misplaced[0]} is a parameter of the task: write generate.spec.{misplaced[0]}")
        return values

    def dataset_spec(self) -> DatasetSpec:
        """The dataset spec of these parameters; UserError if the task cannot sample problems with them."""
        return make_spec(load_task(self.task), self.spec, self.seed, "generate.spec")

    def split_specs(self, spec: DatasetSpec) -> dict[str, DatasetSpec]:
        """The specs of the extra test splits ``test-<name>``: these parameters, with the changes of each split."""
        specs, task = {}, load_task(self.task)
        for name, changes in self.extra_test.items():
            changed = {key: value for key, value in changes.items() if key != "n"}
            options = task.spec_model.merge(self.spec, changed)
            split_spec = make_spec(task, options, self.seed, f"generate.extra_test.{name}")
            specs[f"{TEST}-{name}"] = spec.with_problems(split_spec.problems, split_spec.chunk_rows)
        return specs

    def _held_out_rows(self, task: Task[Any], spec: DatasetSpec, name: Literal["valid", "test"]) -> int:
        """Size of valid or test: as given, else the default of the task."""
        rows: int = getattr(self, name)
        if name in self.model_fields_set:
            return rows
        return task.held_out_rows(spec.problems, name, self.n, rows)

    def layout(self, spec: DatasetSpec, out: str) -> Layout:
        """Sizes of splits and shards; shards as given, else as in an existing dataset of this spec, else by size."""
        task = load_task(self.task)
        splits = {TRAIN: self.n}
        splits |= {VALID: self._held_out_rows(task, spec, "valid"), TEST: self._held_out_rows(task, spec, "test")}
        for name, changes in self.extra_test.items():
            try:
                splits[f"{TEST}-{name}"] = parse_count(changes.get("n", splits[TEST]))
            except ValueError as error:
                raise UserError(f"extra test split {name}: {error}") from None
        if self.shard_rows is not None:
            shard_rows = whole_chunks(self.shard_rows, spec.chunk_rows)
        else:
            chunks = max(-(-rows // task.rows_per_chunk(spec, split)) for split, rows in splits.items())
            shard_rows = existing_shard_rows(out, spec) or default_shard_rows(chunks * spec.chunk_rows, spec.chunk_rows)
        by_split = {
            split: whole_chunks(shard_rows, split_spec.chunk_rows)
            for split, split_spec in self.split_specs(spec).items()
        }
        return Layout(splits, shard_rows, {split: rows for split, rows in by_split.items() if rows != shard_rows})


def resolve_generate(source: ParameterSource, flags: dict[str, Any]) -> GenerateParams:
    """The parameters of a dataset from files and flags; the flags of the task's own parameters go into ``spec``."""
    task_flags = {name: value for name, value in flags.items() if name not in GenerateParams.model_fields}
    common = {name: value for name, value in flags.items() if name in GenerateParams.model_fields}
    values = resolve("generate", source, common)
    changes = {name: value for name, value in task_flags.items() if value is not None}
    if changes and "task" in values:
        values["spec"] = load_task(str(values["task"])).spec_model.merge(values.get("spec") or {}, changes)
    if "task" in values and isinstance(values.get("spec"), dict):
        values["spec"] = read_values(load_task(str(values["task"])).spec_model, values["spec"], "generate.spec")
    return validate(GenerateParams, values, "generate", source)


def make_spec(task: Task[Any], options: dict[str, Any], seed: int, section: str) -> DatasetSpec:
    """``Task.make_spec``; UserError, which names ``section``, for unknown options and values out of bounds."""
    all_options = task.spec_model.options()  # also those that this task refuses itself, saying why
    unknown = next((name for name in options if name not in all_options), None)
    if unknown is not None:
        raise UserError(
            f"unknown parameter {section}.{unknown}: {task.name} has none of this name",
            expected=f"one of {', '.join(task.options())}",
            got=repr(unknown),
            next_step=did_you_mean(unknown, task.options()) or f"`mathpipe generate --task {task.reference} --help`",
        )
    options = read_values(task.spec_model, options, section)
    with user_errors(task.spec_model, section):
        return task.make_spec(options, seed)


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
        None,
        description="number of hypotheses decoded together  [default: 512 on a CPU, 2,048 on a GPU, or as many as fit]",
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
    domain: Domain = Field(
        "real",
        description="expressions: real counts answers that are right wherever problem and answer are real, complex does not",
    )

    @model_validator(mode="after")
    def _one_decoding_method(self) -> Self:
        if self.temperature and self.beam > 1:
            raise ValueError("give either a beam width or a temperature, not both")
        if self.samples > 1 and not self.temperature:
            raise ValueError("several samples need a temperature, such as 1.0")
        return self


MODELS: dict[Section, type[BaseModel]] = {"generate": GenerateParams, "train": TrainConfig, "evaluate": EvaluateParams}
