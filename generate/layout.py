"""The layout of a dataset: sizes of splits and shards, which never affect the content of a row."""

from __future__ import annotations

from dataclasses import dataclass, field

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
                "the layout has no split",
                expected='rows by split, such as {"train": 100_000, "test": 10_000}',
                got="{}",
            )
        for split, rows in self.splits.items():
            _check_rows(f"the number of rows of {split}", rows, 0)
        for rows in (self.shard_rows, *self.shard_rows_by_split.values()):
            _check_rows("the number of rows per shard", rows, 1)

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


def _check_rows(what: str, rows: int, least: int) -> None:
    if not isinstance(rows, int) or not least <= rows <= LARGEST_COUNT:
        raise UserError(
            f"{what} is out of range", expected=f"an integer from {least} to {LARGEST_COUNT:,}", got=repr(rows)
        )


def split_into_shards(split: str, rows: int, shard_rows: int) -> list[Shard]:
    """Split ``rows`` rows into shards of ``shard_rows``: 25 rows by 10 give 10, 10 and 5; 0 rows give no shard."""
    return [
        Shard(split, index, first, min(shard_rows, rows - first))
        for index, first in enumerate(range(0, rows, shard_rows))
    ]


def whole_chunks(shard_rows: int, chunk_rows: int) -> int:
    """``shard_rows`` rounded to the nearest positive number of whole chunks."""
    _check_rows("the number of rows per shard", shard_rows, 1)
    return max(1, round(shard_rows / chunk_rows)) * chunk_rows


def default_shard_rows(rows: int, chunk_rows: int) -> int:
    """1, 10 or 100 chunks: the largest that leaves 8 shards, to keep a few workers busy with few files."""
    return max([k * chunk_rows for k in (10, 100) if rows >= 8 * k * chunk_rows], default=chunk_rows)
