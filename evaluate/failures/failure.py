"""A failed problem: its best hypothesis does not pass verification, be it ``exact`` or not."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.errors import UserError, did_you_mean

Floats = NDArray[np.float64]

LABELS = ("task", "spectrum", "confused_with")  # names that only some predictions have


@dataclass(frozen=True, eq=False)
class FailureParts:
    """What a failure shows of problem, reference and prediction: matrices as arrays (r, c), token sequences as text."""

    problem: Any
    reference: Any
    decoded: Floats | None = None
    residual: Floats | None = None
    residual_formula: str = ""


@dataclass(frozen=True, eq=False)
class Failure:
    """One failed problem; fields as in the dump (see ``mathpipe.evaluate.failures.failure_dump``), matrices as arrays (r, c)."""

    problem_type: str
    row: int
    split: str
    outcome: str
    problem: Any
    reference: Any
    prediction: str
    decoded: Floats | None
    residual: Floats | None
    residual_formula: str
    evidence: str | None
    evidence_counts: dict[str, int | None]
    errors: dict[str, float | None]
    reference_error_l1: float | None
    log_probability: float | None
    correct_rank: int | None = None
    covariates: dict[str, float | None] = field(default_factory=dict)
    task: str | None = None
    spectrum: str | None = None
    confused_with: str | None = None

    @property
    def error(self) -> float:
        """error_l1; -1 if it is undefined or infinite, to sort after finite ones."""
        error = self.errors.get("error_l1")
        return -1.0 if error is None else error

    @property
    def confidence(self) -> float:
        """log_probability; -inf if it is undefined."""
        return -math.inf if self.log_probability is None else self.log_probability

    def value(self, name: str) -> Any:
        """A field, an error measure or a covariate by name; UserError for an unknown one."""
        for values in (vars(self), self.evidence_counts, self.errors, self.covariates):
            if name in values:
                return values[name]
        names = ["row", "outcome", "evidence", *LABELS, "log_probability", *self._measured]
        raise UserError(
            f"failures have no {name!r}",
            expected=f"one of {', '.join(names)}",
            got=repr(name),
            next_step=did_you_mean(name, names),
        )

    @property
    def _measured(self) -> dict[str, float | int | None]:
        return {**self.evidence_counts, **self.errors, **self.covariates}

    def same_problem(self, other: Failure) -> bool:
        return np.array_equal(self.problem, other.problem)

    def to_json(self) -> str:
        """One line of a dump."""
        record = {name: _to_json(getattr(self, name)) for name in self.__dataclass_fields__}
        return json.dumps(record, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Failure:
        record: dict[str, Any] = json.loads(line)
        return cls(**{name: _from_json(value) for name, value in record.items()})


def _to_json(value: Any) -> Any:
    """Arrays as lists, with null for entries that are not finite (a residual that overflowed)."""
    if not isinstance(value, np.ndarray):
        return value
    if np.isfinite(value).all():
        return value.tolist()
    entries = value.astype(object)
    entries[~np.isfinite(value)] = None
    return entries.tolist()


def _from_json(value: Any) -> Any:
    return np.array(value, dtype=np.float64) if isinstance(value, list) else value
