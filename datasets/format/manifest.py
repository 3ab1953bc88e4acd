"""What a dataset says of itself: a record beside each shard, and ``manifest.json``, written last.

If the manifest is there, the dataset is whole. A record of another spec is never taken as done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.storage import Storage

MANIFEST = "manifest.json"
Count = Annotated[int, Field(ge=0)]


class Record(BaseModel):
    """One finished shard: ``rows`` rows of ``split`` from ``first_row`` on, in ``split/00000.parquet``; this is ``_00000.json``.

    ``repeats``: of sequences, how many of the rows have a problem that stands earlier in the same chunk; they are kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str
    shard: Count
    first_row: Count
    rows: Count
    bytes: Count
    sha256: str
    fingerprint: str
    rejected: dict[str, int]
    repeats: Count | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if self.repeats is None:
            del values["repeats"]
        return values

    @property
    def file(self) -> str:
        return shard_file(self.split, self.shard)

    def write(self, storage: Storage) -> None:
        """Write the record beside its shard; only now the shard counts as done."""
        storage.write_text(record_file(self.split, self.shard), self.model_dump_json(indent=1) + "\n")


def shard_file(split: str, shard: int) -> str:
    return f"{split}/{shard:05d}.parquet"


def record_file(split: str, shard: int) -> str:
    """Beside its shard; the underscore makes readers of a whole directory (pandas, Spark, Arrow) pass over it."""
    return f"{split}/_{shard:05d}.json"


def read_record(storage: Storage, split: str, shard: int) -> Record | None:
    """The record of a shard, or None where there is none that can be read (an unreadable one is no record)."""
    text = storage.read_text(record_file(split, shard))
    return None if text is None else parse_record(text)


def parse_record(text: str) -> Record | None:
    """A record as it was written, or None where it cannot be read."""
    try:
        return Record.model_validate_json(text)
    except ValidationError:
        return None


class Split(BaseModel):
    """One split: its rows, and the records of its shards in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: Count
    bytes: Count
    rejected: dict[str, int]
    shards: tuple[Record, ...]

    @classmethod
    def of(cls, records: Sequence[Record]) -> Split:
        rejected: dict[str, int] = {}
        for record in records:
            for reason, count in record.rejected.items():
                rejected[reason] = rejected.get(reason, 0) + count
        return cls(
            rows=sum(r.rows for r in records),
            bytes=sum(r.bytes for r in records),
            rejected=dict(sorted(rejected.items())),
            shards=tuple(records),
        )


class Manifest(BaseModel):
    """The whole dataset: its spec, how the stream of rows is cut, every shard, and what made it.

    ``split_specs``: the specs of extra test splits, which are drawn otherwise; all other splits have ``spec``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: dict[str, Any]
    fingerprint: str
    shard_rows: Count
    split_specs: dict[str, dict[str, Any]] = {}
    splits: dict[str, Split]
    provenance: dict[str, str]

    @property
    def task(self) -> str:
        return str(self.spec["task"])

    @property
    def repeats(self) -> int:
        """Rows whose problem stands earlier in the same chunk, over all splits."""
        return sum(record.repeats or 0 for split in self.splits.values() for record in split.shards)

    @property
    def mending(self) -> str:
        """What to do about damaged shards: a dataset is made again the way it was made."""
        if self.spec.get("deduplicated"):
            return (
                f"remove {MANIFEST} and the damaged .parquet files, and run `mathpipe dedupe` with the same SOURCE and OUT: it "
                "copies these rows again; an answer that is wrong there too has to be mended in SOURCE"
            )
        if self.spec["problems"].get("kind") == "imported":
            names = ", ".join(source["name"] for source in self.spec["problems"]["sources"])
            return (
                f"run `mathpipe import` again from {names} into another --out: it reads every row anew, and "
                "leaves out answers that are not right"
            )
        return (
            "remove the damaged .parquet files, and run `mathpipe generate` with the same arguments: it rebuilds exactly these "
            "rows"
        )

    def spec_of(self, split: str) -> dict[str, Any]:
        """The spec of a split: its own, or the dataset's."""
        return self.split_specs.get(split, self.spec)

    @property
    def digest(self) -> str:
        """Of the dataset: changes when any row of any split does (the shards' checksums tell)."""
        return _digest_of(self.fingerprint, *(record for split in self.splits.values() for record in split.shards))

    def split_digest(self, split: str) -> str:
        """Of one split: changes when any of its rows does, and with nothing else."""
        return _digest_of(self.fingerprint, *self.splits[split].shards)

    def write(self, storage: Storage) -> None:
        storage.write_text(MANIFEST, self.model_dump_json(indent=1) + "\n")


def _digest_of(fingerprint: str, *records: Record) -> str:
    parts = [fingerprint, *(f"{record.file} {record.sha256}" for record in records)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def find_manifest(storage: Storage) -> Manifest | None:
    """The manifest, or None where there is none; UserError where it cannot be read."""
    text = storage.read_text(MANIFEST)
    if text is None:
        return None
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise UserError(
            f"{storage.url}/{MANIFEST} cannot be read",
            expected="the manifest of a dataset, as it was written",
            got=_first_fault(error),
            cause="it was changed or damaged after writing",
            next_step="remove it, and run what made the dataset (`mathpipe generate`, `import` or `dedupe`) with the same "
            "arguments: it is written anew",
        ) from error


def _first_fault(problem: ValidationError) -> str:
    """Where a manifest is not one, and how: ``splits.train.rows: Field required``."""
    error = problem.errors()[0]
    where = ".".join(map(str, error["loc"]))
    return f"{where}: {error['msg']}" if where else error["msg"]


def read_manifest(url: str) -> Manifest:
    """The manifest of a whole dataset; UserError where there is none."""
    storage = Storage(url)
    manifest = find_manifest(storage)
    if manifest is None:
        found = storage.list()
        partial = any(name in ("train", "valid", "test") for name in found)
        raise UserError(
            f"{url} holds no whole dataset",
            expected=f"a directory with {MANIFEST}",
            got="an unfinished dataset"
            if partial
            else ("no such directory, or an empty one" if not found else "other files"),
            next_step="run `mathpipe generate` with the same arguments to finish it"
            if partial
            else f"`mathpipe generate --out {url} ...` makes one",
        )
    return manifest
