"""Examples of any problem type: problems, solutions and the rows at which they stand in the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self, TypeVar

from numpy.typing import NDArray

from mathpipe.datasets.containers.array_types import Ints


class Examples(Protocol):
    """n examples. ``row``: their indices (n,) int64; ``problems`` and ``solutions``: ragged batches of n matrices or sequences."""

    @property
    def row(self) -> Ints: ...
    @property
    def problems(self) -> Any: ...
    @property
    def solutions(self) -> Any: ...
    @property
    def solved(self) -> Any:
        """The problems that the solutions belong to: the noise-free ones if there is noise."""
        ...

    def __len__(self) -> int: ...
    def take(self, index: NDArray[Any]) -> Self:
        """Select examples by positions (k,) or by a boolean mask (n,)."""
        ...

    def renumber(self, first: int) -> Self:
        """The same examples with the indices first, first + 1, ..."""
        ...

    def extra_columns(self, i: int) -> dict[str, Any]:
        """What example i has besides problem and solution: name -> number."""
        ...

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Concatenate batches of the same problem type and the same columns."""
        ...


E = TypeVar("E", bound=Examples)


def concatenate(parts: Sequence[E]) -> E:
    """Concatenate at least one batch of examples."""
    return type(parts[0]).concatenate(parts)
