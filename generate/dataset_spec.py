"""The spec of a dataset: everything that determines its examples.

A dataset is a function of (task, problem parameters, seed, chunk size, generator version); their hash is its fingerprint.
Sizes, shards and workers belong to the layout, which only divides the stream of examples.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, SerializerFunctionWrapHandler, model_serializer
from pydantic.fields import FieldInfo

from mathpipe.datasets.format.fingerprint import canonical_json, spec_fingerprint

GENERATOR_VERSION = 1  # increased whenever the same spec would give other examples


class ProblemSpec(BaseModel):
    """The parameters of a task's problems; a subclass for each problem type, and for a task that needs parameters of its own.

    A field with a description is an option of the user, by the same name in ``generate.spec`` of params.yaml and as a flag;
    a field without one is derived.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def options(cls) -> dict[str, FieldInfo]:
        """The fields that a user may set."""
        return {name: field for name, field in cls.model_fields.items() if field.description is not None}

    @classmethod
    def merge(cls, options: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        """The options with these changes; a subclass whose options exclude each other removes the ones that no longer hold."""
        return {**options, **changes}

    def option_values(self) -> dict[str, Any]:
        """The value of each option, as a user would set it."""
        return {name: getattr(self, name) for name in self.options()}

    def describe(self, options: Collection[str]) -> str:
        """The problems in words, by the ``options`` that the task takes: ``max int 1,000,000, operands uniform``."""
        options_set = {name: value for name, value in self.option_values().items() if name in options}
        values = {name: value for name, value in options_set.items() if value not in (None, "", ())}
        return ", ".join(f"{name.replace('_', ' ')} {value_text(value)}" for name, value in values.items())

    def replace_options(self, options: dict[str, Any]) -> Self:
        """This spec with other values of some options; pydantic's ValidationError if they are invalid."""
        return type(self).model_validate(self.merge(self.model_dump(), options))


def value_text(value: Any) -> str:
    """A value of a spec in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"
    if isinstance(value, list | tuple):
        return " and ".join(value_text(entry) for entry in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {value_text(entry)}" for name, entry in value.items())
    return str(value)


class SourceFile(BaseModel):
    """An imported file: its split, its name without directories, and its sha256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str
    name: str
    sha256: str


class SourceFormat(BaseModel):
    """How imported files write examples.

    ``format``: text (problem<TAB>solution), jsonl (an object a line), csv with a header, parquet or arrow. ``notation``: tokens,
    infix, LaTeX, nested lists, or ``auto``: expressions, each in its own notation. ``columns``: role, such as ``problem``, ->
    column of the file. ``encodings``: number encodings of problems and solutions, where matrices are written as tokens.
    ``stored_tokens``: the tokens of the ids in files that mathpipe wrote. ``stored_layouts``: of the flat rows of integers in
    such files. ``layouts``: of integers in problems and solutions without a task, where the user names them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["text", "jsonl", "csv", "parquet", "arrow"] = "text"
    notation: Literal["tokens", "infix", "latex", "lists", "auto"] = "tokens"
    columns: dict[str, str] = {"problem": "problem", "solution": "solution"}
    encodings: tuple[str, str] | None = None
    stored_tokens: tuple[str, ...] = ()
    stored_layouts: tuple[str, str] | None = None
    layouts: tuple[str | None, str | None] = (None, None)


class ImportedSpec(ProblemSpec):
    """Imported examples: those of the files, in their order and with the splits of the files, not of the hash.

    ``problem_type``: what they are. ``task_options``: of the task, other than its defaults.
    ``checked``: lines with wrong solutions were left out. ``source``: how files write examples.
    ``valid_cut``: the files hold no validation examples, so that ``valid`` took those of training whose hash names it. Further
    fields are those that the problem type stores about its examples, such as the ``alphabet``.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: Literal["imported"] = "imported"
    problem_type: str
    sources: tuple[SourceFile, ...]
    task_options: dict[str, Any] = {}
    checked: bool = False
    valid_cut: bool = False
    source: SourceFormat = SourceFormat()

    def describe(self, options: Collection[str]) -> str:
        files = ", ".join(f"{file.name} ({file.split})" for file in self.sources)
        options = f", {value_text(self.task_options)}" if self.task_options else ""
        return f"{self.problem_type} imported from {files}{options}{', verified' if self.checked else ''}"


class DatasetSpec(BaseModel):
    """A task, its problem parameters, a seed, and what else determines examples. Equal fingerprints mean equal examples.

    ``deduplicated``: the digest of the source dataset of the same spec, if this one keeps only the first of equal problems.
    ``source_digest``: the digest of the code of a task outside the package.
    ``mathpipe.generate.tasks.task_registry.parse_spec`` reads a stored spec: the task knows the model of its problem parameters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    problems: SerializeAsAny[ProblemSpec]
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    chunk_rows: Annotated[int, Field(ge=1)] = 10_000
    version: int = GENERATOR_VERSION
    deduplicated: str | None = None
    source_digest: str | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        for name in ("deduplicated", "source_digest"):
            if values[name] is None:
                del values[name]
        return values

    @property
    def imported(self) -> bool:
        """Whether the examples come from files, with the files' own splits."""
        return isinstance(self.problems, ImportedSpec)

    def with_problems(self, problems: ProblemSpec, chunk_rows: int) -> DatasetSpec:
        """The spec of an extra split: the same task and seed, other problems."""
        return self.model_copy(update={"problems": problems, "chunk_rows": chunk_rows})

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def fingerprint(self) -> str:
        """sha256 of the canonical JSON, 64 hexadecimal digits."""
        return spec_fingerprint(self.model_dump(mode="json"))


def imported_spec(spec: DatasetSpec) -> ImportedSpec:
    """The problem parameters of an imported dataset; TypeError for any other."""
    if not isinstance(spec.problems, ImportedSpec):
        raise TypeError(f"the examples of {spec.task} are not imported")
    return spec.problems
