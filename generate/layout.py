"""The layout of a dataset: sizes of splits and shards, which never affect the content of a row."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import SupportsIndex

from mathpipe.datasets.errors import UserError

LARGEST_COUNT = 10**12


@dataclass(frozen=True)
class Shard:
    """Rows [first_row, first_row + rows) of a split, in one file."""

    split: str
    index: int
    first_row: int
    rows: int


@dataclass(frozen=True)
class Layout:
    """``splits``: requested rows of each split; ``shard_rows``: rows per shard; ``make_dataset`` rounds them to whole
    chunks of the spec.

    ``shard_rows_by_split``: rows per shard of splits whose spec has another chunk size.
    UserError without a split, and for numbers of rows that are no integers or out of range.
    """

    splits: dict[str, int]
    shard_rows: int
    shard_rows_by_split: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.splits:
            raise UserError(
                "the layout has no split", expected='rows by split, as {"train": 100_000, "test": 10_000}', got="{}"
            )
        values = {
            "splits": {split: _rows(f"the number of rows of {split}", rows, 0) for split, rows in self.splits.items()},
            "shard_rows": _rows("the number of rows per shard", self.shard_rows, 1),
            "shard_rows_by_split": {
                split: _rows(f"the number of rows per shard of {split}", rows, 1)
                for split, rows in self.shard_rows_by_split.items()
            },
        }
        for name, value in values.items():  # integers of NumPy become Python's, which the manifest can hold
            object.__setattr__(self, name, value)

    def shards(self) -> list[Shard]:
        """Every shard of every split, in order; the last shard of a split has the remaining rows."""
        return [
            shard
            for split, rows in self.splits.items()
            for shard in split_into_shards(split, rows, self.shard_rows_by_split.get(split, self.shard_rows))
        ]

    @property
    def rows(self) -> int:
        return sum(self.splits.values())


def _rows(what: str, rows: object, least: int) -> int:
    if isinstance(rows, bool) or not isinstance(rows, SupportsIndex):
        raise UserError(f"{what} is no integer", expected="an integer such as 100_000", got=repr(rows))
    count = operator.index(rows)
    if not least <= count <= LARGEST_COUNT:
        raise UserError(f"{what} is out of range", expected=f"{least} to {LARGEST_COUNT:,}", got=f"{count:,}")
    return count


def split_into_shards(split: str, rows: int, shard_rows: int) -> list[Shard]:
    """Split ``rows`` rows into shards of ``shard_rows``: 25 rows by 10 give 10, 10 and 5; 0 rows give no shard."""
    return [
        Shard(split, index, first, min(shard_rows, rows - first))
        for index, first in enumerate(range(0, rows, shard_rows))
    ]


def whole_chunks(shard_rows: int, chunk_rows: int) -> int:
    """``shard_rows`` rounded to the nearest positive number of whole chunks."""
    chunks = round(_rows("the number of rows per shard", shard_rows, 1) / chunk_rows)
    return min(max(chunks, 1), max(LARGEST_COUNT // chunk_rows, 1)) * chunk_rows


def default_shard_rows(rows: int, chunk_rows: int) -> int:
    """1, 10 or 100 chunks: the largest that leaves 8 shards, to keep a few workers busy with few files."""
    return max([k * chunk_rows for k in (10, 100) if rows >= 8 * k * chunk_rows], default=chunk_rows)
