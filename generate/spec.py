"""The spec of a dataset: everything that determines its rows.

A dataset is a function of (task, problem parameters, seed, chunk size, generator version); their hash is its fingerprint.
Sizes, shards and workers belong to the layout, which only divides the stream of rows.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from mathpipe.datasets.errors import nearest
from mathpipe.datasets.expressions.vocabulary import BINARY, UNARY

GENERATOR_VERSION = 1  # increased whenever the same spec would give other rows
LARGEST_DIMENSION = 100
Dimension = Annotated[int, Field(ge=1, le=LARGEST_DIMENSION)]
Spectrum = Literal["semicircle", "positive", "uniform", "gaussian", "laplace", "positive2", "marcenko"]
SPECTRA: tuple[Spectrum, ...] = get_args(Spectrum)


def _split_names(names: object) -> object:
    """``"laplace,semicircle"`` as two names; None and the empty string as no names."""
    if names is None:
        return ()
    return tuple(name.strip() for name in names.split(",") if name.strip()) if isinstance(names, str) else names


def _in_order(names: tuple[Spectrum, ...]) -> tuple[Spectrum, ...]:
    """Sort the names: a mixture is a set, so its spec needs one fingerprint."""
    if len(set(names)) != len(names):
        raise ValueError("names a spectrum twice: each problem uses one of the names, with equal probability")
    return tuple(sorted(names, key=SPECTRA.index))


Spectra = Annotated[tuple[Spectrum, ...], BeforeValidator(_split_names), AfterValidator(_in_order)]


class MatrixSpec(BaseModel):
    """How matrices are sampled: m x n with independent entries, then rounded to 3 significant digits.

    ``min_dim..max_dim``: n is uniform in this range for each problem (rows and columns apart when ``rectangular``);
    ``rows``, ``cols``: fixed instead. ``entries``: ``uniform`` U(-c, c) or ``gaussian`` N(0, c^2/3), of equal variance.
    c is ``max_coeff``, or uniform among the integers ``min_coeff..max_coeff`` for each problem.
    ``spectrum``: of symmetric problems, see ``mathpipe.generate.sampling.spectra``; each problem samples one of them.
    ``task_tokens``: of co-training, the tasks of the problems (all seven, TADMEFI, if null).
    ``round_problems``: round before solving, so that the solution is exactly that of the stored problem (else as in the
    papers: solve first, round when writing). ``noise``: sigma > 0 stores A + (c_max sigma / sqrt 3) N(0, 1) with the
    solution of the clean A. Source: Charton 2022, sections 3 and 4.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_dim: Dimension = 5
    max_dim: Dimension = 5
    rectangular: bool = False
    rows: Dimension | None = None
    cols: Dimension | None = None
    entries: Literal["uniform", "gaussian"] = "uniform"
    max_coeff: Annotated[float, Field(gt=1e-6, le=1e6, allow_inf_nan=False)] = 10.0
    min_coeff: Annotated[int, Field(ge=1)] | None = None
    spectrum: Spectra = ()
    task_tokens: str | None = None
    round_problems: bool = True
    noise: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_dim > self.max_dim:
            raise ValueError(f"min_dim {self.min_dim} is above max_dim {self.max_dim}")
        if (self.rows is None) != (self.cols is None):
            raise ValueError("give rows and cols together or not at all")
        if self.rows is not None and self.rectangular:
            raise ValueError("rectangular samples rows and columns; it cannot be combined with fixed rows and cols")
        if self.min_coeff is not None and (self.max_coeff != int(self.max_coeff) or self.min_coeff > self.max_coeff):
            raise ValueError("with min_coeff, max_coeff must be an integer at least as large")
        return self

    @property
    def largest_shape(self) -> tuple[int, int]:
        """The largest (rows, cols) of this spec."""
        if self.rows is not None and self.cols is not None:
            return self.rows, self.cols
        return self.max_dim, self.max_dim

    @property
    def always_square(self) -> bool:
        return not self.rectangular and self.rows == self.cols


Family = Literal["general", "polynomial", "trigonometric", "logarithmic"]


def _weights(text: str) -> str:
    """``"tan:0, div:2.50"`` as ``"div:2.5,tan:0"``: weights sorted by name, so that a spec has one fingerprint."""
    weights: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, colon, weight = (piece.strip() for piece in part.partition(":"))
        if name not in (*BINARY, *UNARY):
            near = nearest(name, (*BINARY, *UNARY))
            raise ValueError(f"{name!r} is no operator" + (f": did you mean {near}?" if near else ""))
        try:
            number = float(weight)
        except ValueError:
            number = -1.0
        if not colon or not 0 <= number <= 1e6:
            raise ValueError(f"{part!r} names no weight: write operator:weight from 0 to 1e6, such as div:0")
        if name in weights:
            raise ValueError(f"{name!r} is named twice")
        weights[name] = number
    return ",".join(f"{name}:{weights[name]:g}" for name in sorted(weights))


Weights = Annotated[str, AfterValidator(_weights)]


class ExpressionSpec(BaseModel):
    """How expressions are sampled: unary-binary trees, uniform over those with k operators, then operators and leaves by weight.

    k is uniform in ``min_operators..max_operators``, but with probability ``few_share`` uniform in 0..min_operators - 1.
    ``operators``: weights that differ from the published ones, such as ``div:0,tan:0``; a weight counts within its arity.
    A leaf is x with probability ``variable_share``, else an integer uniform in 1..``max_int``. ``max_len``: tokens of the longest
    problem or solution. ``family``: the functions of the published tests of distribution shift. ``simplify``: share of
    problems that are simplified before they are stored. Source: Lample and Charton 2020, section 3 and appendices A to C.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["expressions"] = "expressions"
    min_operators: Annotated[int, Field(ge=0, le=50)] = 4
    max_operators: Annotated[int, Field(ge=0, le=50)] = 15
    few_share: Annotated[float, Field(ge=0, le=1)] = 0.025
    operators: Weights = ""
    variable_share: Annotated[float, Field(gt=0, le=1)] = 0.75
    max_int: Annotated[int, Field(ge=1, le=1_000_000)] = 5
    max_len: Annotated[int, Field(ge=4, le=4096)] = 512
    family: Family = "general"
    simplify: Annotated[float, Field(ge=0, le=1)] = 0.0
    table: str | None = None
    """Digest of the table of primitives in which the task looks up solutions, if it has one: set by the task."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_operators > self.max_operators:
            raise ValueError(f"min_operators {self.min_operators} is above max_operators {self.max_operators}")
        return self


class BitSpec(BaseModel):
    """How bits are sampled: fair and independent. ``bits``: n of each pattern; ``masked``: probability that a query bit is hidden.

    ``drawn``: set by the task; ``passes`` iterate over a small space repeatedly, each time in another order. The task defines
    the number of patterns of a problem. Source: Lu et al. 2021, section 3.1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["bits"] = "bits"
    bits: Annotated[int, Field(ge=1, le=10_000)] = 5
    masked: Annotated[float, Field(ge=0, le=1)] = 0.0
    drawn: Literal["with replacement", "passes"] = "with replacement"


SequenceSpec = ExpressionSpec | BitSpec


class SourceFile(BaseModel):
    """An imported file: its split, its name without directories, and its sha256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str
    name: str
    sha256: str


class TextFormat(BaseModel):
    """How imported files write pairs. ``format``: ``text`` (problem<TAB>solution) or ``jsonl`` (an object a line).

    ``problem``, ``solution``: the columns of ``jsonl`` that hold them. ``notation``: prefix tokens, infix or LaTeX.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["text", "jsonl"] = "text"
    notation: Literal["tokens", "infix", "latex"] = "tokens"
    problem: str = "problem"
    solution: str = "solution"


class ImportedSpec(BaseModel):
    """Imported rows: those of the files, in their order and with the splits of the files, not of the hash.

    ``checked``: lines with wrong solutions were skipped. ``text``: how the files write pairs, if not as the published ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["imported"] = "imported"
    sources: tuple[SourceFile, ...]
    checked: bool = False
    text: TextFormat = TextFormat()

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if not self.checked:
            del values["checked"]
        if self.text == TextFormat():
            del values["text"]
        return values


def _kind(values: object) -> str:
    if isinstance(values, dict):
        return str(values.get("kind", "matrices"))
    return str(getattr(values, "kind", "matrices"))


ProblemSpec = Annotated[
    Annotated[MatrixSpec, Tag("matrices")]
    | Annotated[ExpressionSpec, Tag("expressions")]
    | Annotated[BitSpec, Tag("bits")]
    | Annotated[ImportedSpec, Tag("imported")],
    Discriminator(_kind),
]


class DatasetSpec(BaseModel):
    """A task, its problem parameters, a seed, and what else determines rows. Equal fingerprints mean equal rows.

    ``deduplicated``: the digest of the source dataset of the same spec, if this one keeps only the first of equal problems.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    problems: ProblemSpec
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    chunk_rows: Annotated[int, Field(ge=1)] = 10_000
    version: int = GENERATOR_VERSION
    deduplicated: str | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if self.deduplicated is None:
            del values["deduplicated"]
        return values

    @property
    def matrices(self) -> MatrixSpec:
        """The matrix spec; TypeError if the task has no matrices."""
        if not isinstance(self.problems, MatrixSpec):
            raise TypeError(f"the spec of {self.task} has no matrices")
        return self.problems

    @property
    def expressions(self) -> ExpressionSpec:
        """The expression spec; TypeError if the task has no expressions."""
        if not isinstance(self.problems, ExpressionSpec):
            raise TypeError(f"the spec of {self.task} has no expressions")
        return self.problems

    @property
    def sequences(self) -> SequenceSpec:
        """The expression or bit spec; TypeError if the task has neither."""
        if not isinstance(self.problems, SequenceSpec):
            raise TypeError(f"the spec of {self.task} has no sequences")
        return self.problems

    def with_problems(self, problems: MatrixSpec | SequenceSpec, chunk_rows: int) -> DatasetSpec:
        """The spec of an extra split: the same task and seed, other problems."""
        return self.model_copy(update={"problems": problems, "chunk_rows": chunk_rows})

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def fingerprint(self) -> str:
        """sha256 of the canonical JSON, 64 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()
