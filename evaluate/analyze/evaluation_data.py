"""The predictions of one evaluation, as the analyses read them: one row per problem, its best hypothesis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mathpipe.evaluate.analyze.baselines import BaselineCounts
from mathpipe.evaluate.analyze.column_roles import bool_column, covariate_names, float_column, measure_names
from mathpipe.generate.tasks.error_measures import within

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

ERROR_MEASURES = {"l1": "error_l1", "l2": "error_l2", "max": "error_max", "componentwise": "error_componentwise"}


@dataclass(frozen=True)
class EvaluationData:
    """The predictions of one evaluation, one row per problem. Columns are converted once."""

    table: pa.Table  # rank 0
    baseline_counts: BaselineCounts
    task: str
    metadata: dict[str, Any]
    hypotheses: int = 1
    _cache: dict[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    def has(self, name: str) -> bool:
        return name in self.table.column_names

    def of(self, name: str) -> Floats:
        """A column as float64, NaN where null."""
        if name not in self._cache:
            self._cache[name] = float_column(self.table, name)
        return self._cache[name]

    @property
    def passed(self) -> Mask:
        return bool_column(self.table, "passed")

    def within(self, error: str, tolerance: float) -> Mask:
        """Mask of the problems that pass the error test with measure ``error`` instead of error_l1."""
        passed = within(self.of(error), tolerance)
        if self.has("orthogonality"):
            passed &= within(self.of("orthogonality"), tolerance)
        return passed


def evaluation_data(predictions: pa.Table, metadata: dict[str, Any], baseline_counts: BaselineCounts) -> EvaluationData:
    """The rank-0 rows of a predictions table, with its metadata and baselines."""
    ranks = predictions["rank"]
    num_hypotheses = int(pc.max(ranks).as_py() or 0) + 1
    best = predictions if num_hypotheses == 1 else predictions.filter(pc.equal(ranks, 0))
    return EvaluationData(best, baseline_counts, metadata["task"], metadata, num_hypotheses)


CLASS = "class"  # the column of the classes of answers, if the task declares one
MAX_CLASSES = 100


def classes_of(data: EvaluationData) -> Iterator[tuple[int, Mask]]:
    """The smallest classes, up to 100, each with the mask of its problems."""
    values = data.of(CLASS)
    for value in np.unique(values[~np.isnan(values)])[:MAX_CLASSES]:
        yield int(value), np.asarray(values == value)


def required_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns that the analyses read."""
    required = {"row", "rank", "outcome", "passed", "published_correct", "log_probability"}
    required |= {"reference_error_l1", "correct_rank", "problem_tokens", "task", "spectrum", "confused_with"}
    required |= {"matches_reference", "evidence", "evidence_jumps"}
    required |= {"prediction"} if CLASS in schema.names else set()
    required |= set(measure_names(schema)) | set(covariate_names(schema))
    if "problem" in schema.names:
        required.discard("problem_tokens")
    return [name for name in schema.names if name in required]


_LABELS = {
    "rows": "rows of the problem",
    "cols": "columns of the problem",
    "largest": "largest entry",
    "norm": "norm of the problem",
    "condition_number": "condition number of the problem",
    "eigenvalue_gap": "smallest gap between eigenvalues",
    "positive_eigenvalue_fraction": "fraction of positive eigenvalues",
    "dominant_eigenvalue_ratio": "largest eigenvalue / norm",
    "predicted_condition": "condition number of the prediction",
    "vectors_condition": "condition number of the predicted V",
    "u_condition": "condition number of the predicted U",
    "v_condition": "condition number of the predicted V",
    "error_reference_l1": "distance from the reference",
    "max_cosine": "largest cosine",
}


def column_label(name: str) -> str:
    """A column's name in prose."""
    return _LABELS.get(name, name.replace("_", " "))
