"""The parameters of problems that are patterns of bits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, computed_field, model_validator

from mathpipe.generate.spec import ProblemSpec

BIT_ALPHABET = ("0", "1", "?")


class BitSpec(ProblemSpec):
    """How bits are sampled: fair and independent. ``bits``: n of each pattern; ``masked``: probability that a query bit is hidden.

    ``alphabet``: the tokens of the stored ids, the last for a hidden bit. ``sampling``: set by the task; ``passes`` iterate over
    a small space repeatedly, each time in another order. The task defines the number of patterns of a problem.
    Source: Lu et al. 2021, section 3.1.
    """

    kind: Literal["sequences"] = "sequences"
    alphabet: tuple[str, ...] = BIT_ALPHABET
    bits: Annotated[int, Field(ge=1, le=10_000)] = Field(5, description="number of bits of each pattern")
    masked: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="probability that a bit of the query is hidden"
    )
    sampling: Literal["with replacement", "passes"] = "with replacement"

    @model_validator(mode="before")
    @classmethod
    def _derive_solution_length(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if k != "solution_length"} if isinstance(values, dict) else values

    @computed_field  # type: ignore[prop-decorator]
    @property
    def solution_length(self) -> int:
        """Tokens of every solution."""
        return self.bits
