"""Metadata of a dataset: a record of each shard, and ``manifest.json``, written last.

The manifest exists only if the dataset is complete. A record with a different fingerprint never counts as a finished shard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.directory import SPLIT_FOLDERS, record_file, shard_file
from mathpipe.datasets.format.fingerprint import spec_fingerprint
from mathpipe.datasets.io.similar_directories import similar_directories, suggest
from mathpipe.datasets.io.storage import Storage

MANIFEST = "manifest.json"
Count = Annotated[int, Field(ge=0)]


class ShardRecord(BaseModel):
    """One finished shard: ``rows`` rows of ``split`` from ``first_row`` on, in ``split/00000.parquet`` (``directory``).

    ``repeats``: for sequences, how many rows repeat a problem from earlier in the same chunk; they stay in the shard.
    ``evidence``, ``outcomes``: how many rows have each, where this is known; they follow from the rows and enter no digest.
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
    evidence: dict[str, int] | None = None
    outcomes: dict[str, int] | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if value is not None}

    @property
    def rows_alone(self) -> ShardRecord:
        """The record without what verification learned about its rows."""
        return self.model_copy(update={"evidence": None, "outcomes": None})

    @property
    def file(self) -> str:
        return shard_file(self.split, self.shard)

    def write(self, storage: Storage) -> None:
        """Write the record of the shard, which from then on counts as finished."""
        storage.write_text(record_file(self.split, self.shard), self.model_dump_json(indent=1) + "\n")


def read_record(storage: Storage, split: str, shard: int) -> ShardRecord | None:
    """The record of a shard, or None if it is missing or invalid."""
    text = storage.read_text(record_file(split, shard))
    return None if text is None else parse_record(text)


def parse_record(text: str) -> ShardRecord | None:
    """The record in this JSON text, or None if it is invalid."""
    try:
        return ShardRecord.model_validate_json(text)
    except ValidationError:
        return None


class Split(BaseModel):
    """One split: its number of rows, and the records of its shards in order.

    ``rejected``, ``evidence``, ``outcomes``: the counts of the shards together; the last two only if every shard has them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: Count
    bytes: Count
    rejected: dict[str, int]
    evidence: dict[str, int] | None = None
    outcomes: dict[str, int] | None = None
    shards: tuple[ShardRecord, ...]

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_records(cls, records: Sequence[ShardRecord]) -> Split:
        return cls(
            rows=sum(r.rows for r in records),
            bytes=sum(r.bytes for r in records),
            rejected=_sum_counts([r.rejected for r in records]) or {},
            evidence=_sum_counts([r.evidence for r in records]),
            outcomes=_sum_counts([r.outcomes for r in records]),
            shards=tuple(records),
        )


def _sum_counts(parts: Sequence[dict[str, int] | None]) -> dict[str, int] | None:
    """The sum of the counts by name; None if there are none, or one is unknown."""
    total: dict[str, int] = {}
    for part in parts:
        if part is None:
            return None
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return dict(sorted(total.items())) if parts else None


class Manifest(BaseModel):
    """The complete dataset: its spec, shard size, shards by split, and provenance.

    ``split_specs``: the specs of extra test splits, which are sampled differently; all other splits have ``spec``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: dict[str, Any]
    fingerprint: str
    shard_rows: Count
    split_specs: dict[str, dict[str, Any]] = {}
    splits: dict[str, Split]
    provenance: dict[str, str]

    @model_validator(mode="after")
    def _is_unchanged(self) -> Self:
        """ValueError for what no writer writes: a changed spec, or shards under the name of another split."""
        if spec_fingerprint(self.spec) != self.fingerprint:
            raise ValueError("the fingerprint of the spec differs from the fingerprint in the manifest")
        for name, split in self.splits.items():
            for record in split.shards:
                if record.split != name:
                    raise ValueError(f"splits.{name} holds shard {record.shard} of {record.split}")
        return self

    @property
    def task(self) -> str:
        return str(self.spec["task"])

    @property
    def repeats(self) -> int:
        """Number of rows that repeat a problem from earlier in the same chunk, over all splits."""
        return sum(record.repeats or 0 for split in self.splits.values() for record in split.shards)

    @property
    def repair_hint(self) -> str:
        """How to repair damaged shards: repeat the command that built the dataset."""
        if self.spec.get("deduplicated"):
            return (
                f"remove {MANIFEST} and the damaged .parquet files, and run `mathpipe dedupe` with the same SOURCE and OUT: it "
                "copies these rows again; an answer that is wrong there too must be repaired in SOURCE"
            )
        if self.spec["problems"].get("kind") == "imported":
            names = ", ".join(source["name"] for source in self.spec["problems"]["sources"])
            return (
                f"run `mathpipe import` again from {names} into another --out: it reads every row again and "
                "leaves out wrong answers"
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
        """Digest of the dataset: changes when any row of any split changes (from the checksums of the shards)."""
        return _digest(self.fingerprint, *(record for split in self.splits.values() for record in split.shards))

    def split_digest(self, split: str) -> str:
        """Digest of one split: changes exactly when one of its rows changes."""
        return _digest(self.fingerprint, *self.splits[split].shards)

    def write(self, storage: Storage) -> None:
        storage.write_text(MANIFEST, self.model_dump_json(indent=1) + "\n")


def _digest(fingerprint: str, *records: ShardRecord) -> str:
    parts = [fingerprint, *(f"{record.file} {record.sha256}" for record in records)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def find_manifest(storage: Storage) -> Manifest | None:
    """The manifest, or None if there is none; UserError if it is invalid."""
    text = storage.read_text(MANIFEST)
    if text is None:
        return None
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise UserError(
            f"{storage.url}/{MANIFEST} cannot be read",
            expected="the manifest of a dataset, unchanged",
            got=_first_validation_error(error),
            cause="it was changed or damaged after writing",
            next_step="remove it, and repeat the command that built the dataset (`mathpipe generate`, `import` or `dedupe`) with "
            "the same arguments, which writes it again",
        ) from error


def _first_validation_error(error: ValidationError) -> str:
    """Field and message of the first error, such as ``splits.train.rows: Field required``."""
    details = error.errors()[0]
    field = ".".join(map(str, details["loc"]))
    message = details["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


def read_manifest(url: str) -> Manifest:
    """The manifest of a complete dataset; UserError if there is none."""
    storage = Storage(url)
    manifest = find_manifest(storage)
    if manifest is None:
        names = storage.list()
        partial = any(name in SPLIT_FOLDERS for name in names)
        datasets = [f"{url.rstrip('/')}/{name}" for name in names if MANIFEST in storage.sizes(name)]
        raise UserError(
            f"{url} holds no complete dataset",
            expected=f"a directory with {MANIFEST}",
            got="an unfinished dataset"
            if partial
            else ("no such directory, or an empty one" if not names else "other files"),
            next_step="run `mathpipe generate` with the same arguments to finish it"
            if partial
            else suggest(datasets or similar_directories(url, MANIFEST, "data"))
            or f"`mathpipe generate --out {url} ...` builds one",
        )
    return manifest
