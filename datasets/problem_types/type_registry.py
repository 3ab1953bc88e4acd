"""The problem types by name. A new type is one module and one row here."""

from __future__ import annotations

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.problem_types.expression_type import ExpressionType
from mathpipe.datasets.problem_types.integer_type import IntegerType
from mathpipe.datasets.problem_types.matrix_type import MatrixType
from mathpipe.datasets.problem_types.problem_type import ProblemType, Spec
from mathpipe.datasets.problem_types.sequence_type import SequenceType

_TYPES: tuple[ProblemType, ...] = (MatrixType(), ExpressionType(), SequenceType(), IntegerType())
PROBLEM_TYPES: dict[str, ProblemType] = {problem_type.name: problem_type for problem_type in _TYPES}


def problem_type_of(spec: Spec) -> ProblemType:
    """The problem type of a spec (as stored in a manifest); UserError for one that this version does not know."""
    problems = spec["problems"]
    kind = problems.get("kind", "matrices")
    name = problems.get("problem_type") if kind == "imported" else kind
    if name not in PROBLEM_TYPES:
        raise UserError(
            f"the dataset holds problems of an unknown type {name!r}",
            expected=f"one of {', '.join(PROBLEM_TYPES)}",
            cause="it was written by another version of mathpipe",
        )
    return PROBLEM_TYPES[name]
