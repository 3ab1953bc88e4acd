"""The parameters of problems that are short sequences over an alphabet, and of those that are patterns of bits."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field, computed_field, model_validator

from mathpipe.generate.dataset_spec import ProblemSpec

BIT_ALPHABET = ("0", "1", "?")


class SequenceSpec(ProblemSpec):
    """What a task of sequences stores about its problems. ``alphabet``: the tokens of the stored ids; a task adds its parameters.

    ``solution_length``: the number of tokens of every solution if all have the same, which some models need to know.
    """

    kind: Literal["sequences"] = "sequences"
    alphabet: tuple[str, ...]

    @model_validator(mode="before")
    @classmethod
    def _derive_solution_length(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if k != "solution_length"} if isinstance(values, dict) else values

    @computed_field  # type: ignore[prop-decorator]
    @property
    def solution_length(self) -> int | None:
        return None


class BitSpec(SequenceSpec):
    """How bits are sampled: fair and independent. ``bits``: n of each pattern; ``masked``: probability that a query bit is hidden.

    ``alphabet``: the tokens of the stored ids, the last for a hidden bit. ``sampling``: set by the task; ``passes`` iterate over
    a small space repeatedly, each time in another order. The task defines the number of patterns of a problem.
    Source: Lu et al. 2021, section 3.1.
    """

    alphabet: tuple[str, ...] = BIT_ALPHABET
    bits: Annotated[int, Field(ge=1, le=10_000)] = Field(5, description="number of bits of each pattern")
    masked: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="probability that a bit of the query is hidden"
    )
    sampling: Literal["with replacement", "passes"] = "with replacement"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def solution_length(self) -> int | None:
        return self.bits

    def describe(self, options: Collection[str]) -> str:
        hidden = f", each bit of the query hidden with probability {self.masked:g}" if self.masked else ""
        return f"patterns of {self.bits:,} random bits{hidden}"
