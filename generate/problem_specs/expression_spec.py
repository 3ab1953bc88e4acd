"""The parameters of problems that are expressions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from mathpipe.datasets.errors import nearest
from mathpipe.datasets.expressions.vocabulary import BINARY, UNARY
from mathpipe.generate.dataset_spec import ProblemSpec

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


class ExpressionSpec(ProblemSpec):
    """How expressions are sampled: unary-binary trees, uniform over those with k operators, then operators and leaves by weight.

    k is uniform in ``min_operators..max_operators``, but with probability ``few_share`` uniform in 0..min_operators - 1.
    ``operators``: weights that differ from the published ones, such as ``div:0,tan:0``; a weight counts within its arity.
    A leaf is x with probability ``variable_share``, else an integer uniform in 1..``max_int``. ``max_len``: tokens of the longest
    problem or solution. ``family``: the functions of the published tests of distribution shift. ``simplify``: share of
    problems that are simplified before they are stored. ``evidence``: ``proven`` keeps only pairs whose solution is proven to be
    right; ``any``, which is not stored, also keeps those that hold at points. Source: Lample and Charton 2020, section 3 and
    appendices A to C.
    """

    kind: Literal["expressions"] = "expressions"
    min_operators: Annotated[int, Field(ge=0, le=50)] = Field(4, description="smallest number of operators")
    max_operators: Annotated[int, Field(ge=0, le=50)] = Field(15, description="largest number of operators")
    few_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.025, description="proportion of problems with fewer than --min-operators operators"
    )
    operators: Weights = Field(
        "", description="operator weights that replace the published ones, such as div:0,tan:0  [default: published]"
    )
    variable_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.75, description="probability that a leaf is x rather than an integer"
    )
    max_int: Annotated[int, Field(ge=1, le=1_000_000)] = Field(5, description="integers are 1..max_int")
    max_len: Annotated[int, Field(ge=4, le=4096)] = Field(
        512, description="largest number of tokens of a problem or solution"
    )
    family: Family = Field("general", description="functions to sample from, all or one family")
    simplify: Annotated[float, Field(ge=0, le=1)] = Field(0.0, description="proportion of problems that are simplified")
    evidence: Literal["any", "proven"] = Field(
        "any", description="keep all pairs that pass the checks, or only those with a proof  [default: any]"
    )
    table: str | None = None
    """Digest of the table of primitives in which the task looks up solutions, if it has one: set by the task."""

    @model_serializer(mode="wrap")
    def _without_default_evidence(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if self.evidence == "any":
            del values["evidence"]
        return values

    def describe(self, options: Collection[str]) -> str:
        """``expressions of 4 to 15 operators (2.5 % of fewer), leaves x (75 %) or integers 1 to 5, at most 512 tokens``."""
        fewer = f" ({100 * self.few_share:g} % of fewer)" if self.few_share and self.min_operators else ""
        parts = [
            f"expressions of {self.min_operators} to {self.max_operators} operators{fewer}",
            f"leaves x ({100 * self.variable_share:g} %) or integers 1 to {self.max_int}",
            f"at most {self.max_len:,} tokens",
        ]
        if self.family != "general":
            parts.append(f"{self.family} functions only")
        if self.operators:
            parts.append(f"operator weights {self.operators.replace(':', ' ').replace(',', ', ')}")
        if self.simplify:
            parts.append(f"{100 * self.simplify:g} % simplified")
        if self.evidence == "proven":
            parts.append("only pairs with a proof")
        return ", ".join(parts)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_operators > self.max_operators:
            raise ValueError(
                f"min_operators {self.min_operators} is above max_operators {self.max_operators}: give both"
            )
        return self
