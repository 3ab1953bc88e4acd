"""Making a dataset: compare what is wanted with what is there, build the missing shards, write the manifest last."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import (
    MANIFEST,
    Manifest,
    Record,
    Split,
    find_manifest,
    parse_record,
    record_file,
    shard_file,
)
from mathpipe.datasets.io.storage import PassingStoreError, Storage, StoreError, set_aside
from mathpipe.generate.build.locking import claimed, log_file
from mathpipe.generate.build.sequence_chunks import rows_per_chunk
from mathpipe.generate.build.shard import Built, build_unit, units
from mathpipe.generate.execution.executors import run
from mathpipe.generate.layout import Layout, Shard
from mathpipe.generate.provenance import blas_kernels, collect_provenance
from mathpipe.generate.spec import DatasetSpec, MatrixSpec
from mathpipe.generate.splits import TEST, TRAIN, VALID
from mathpipe.generate.tasks.registry import distinct_of_split, distinct_problems, may_repeat

OnMismatch = Literal["error", "restart"]
TRIES = 4  # of a shard whose object store fails in passing; the store's own client has tried each request several times before
_RECORD, _SHARD = re.compile(r"_\d+\.json"), re.compile(r"\d+\.parquet")
PAUSE = 0.5  # seconds before the second try; doubled before each further one


@dataclass(frozen=True)
class Made:
    """What a run of the generator did: the manifest, and how many rows were built now (the rest was there).

    ``retried``: how often a shard was tried again, by what the object store had said.
    """

    manifest: Manifest
    built_rows: int
    seconds: float
    cpu_seconds: float
    set_aside: str | None
    retried: dict[str, int]


def make_dataset(
    spec: DatasetSpec,
    layout: Layout,
    url: str,
    *,
    split_specs: Mapping[str, DatasetSpec] | None = None,
    workers: int | None = 0,
    scheduler: str | None = None,
    on_mismatch: OnMismatch = "error",
    on_shard: Callable[[Record, bool], None] = lambda record, built: None,
    tell: Callable[[str], None] = lambda text: None,
) -> Made:
    """Bring a directory to the state that (spec, layout) describes; shards that are there and right are kept.

    ``split_specs``: the specs of extra test splits (``test-<name>``); all other splits have ``spec``.
    ``workers`` local processes do it (None: as many as the work is worth, see ``cluster.run``), or those of the Dask cluster
    at ``scheduler``. ``on_shard(record, built)`` is called for each shard, those found first; ``tell`` for what a person
    should know meanwhile. Killed at any moment, the same call goes on.
    UserError where the directory holds another spec or more rows than asked for (``restart``: it is moved aside instead), where
    another run works in it, and where the spec has too few distinct problems.
    """
    started = time.perf_counter()
    specs = {split: (split_specs or {}).get(split, spec) for split in layout.splits}
    layout = on_chunks(layout, specs)
    _check_space(specs, layout)
    storage = Storage(url)
    with contextlib.ExitStack() as held:
        alone = held.enter_context(claimed(storage))
        there = _Contents.of(storage)
        aside = _clear_mismatch(storage, spec, specs, layout, there, on_mismatch)
        if aside is not None:
            alone = held.enter_context(claimed(storage))
            there = _Contents.of(storage)
        wanted = layout.shards()
        records = {shard: record for shard in wanted if (record := there.finished(specs[shard.split], shard))}
        for record in records.values():
            on_shard(record, False)
        if there.manifest is not None and len(records) == len(wanted) and _same_cut(there.manifest, layout):
            return Made(there.manifest, 0, time.perf_counter() - started, 0.0, aside, {})
        storage.remove(MANIFEST)  # from here on the dataset is not whole
        if alone:
            _remove_unfinished(storage, layout)
        missing = [shard for shard in wanted if shard not in records]
        work = _Work()
        build = functools.partial(_build, specs, storage.absolute_url)
        for done in run(build, units(specs, missing), workers, scheduler, tell):
            work.add(done)
            for built in done.built:
                record = built.record
                if scheduler is not None:
                    _check_arrived(storage, record, scheduler)
                records[Shard(record.split, record.shard, record.first_row, record.rows)] = record
                on_shard(record, True)
                _log(storage, built)
            if done.failures:
                files = ", ".join(built.record.file for built in done.built)
                tell(f"{files} was tried again {len(done.failures)} times: {'; '.join(done.failures)}")
        _remove_surplus(storage, wanted, layout)
        if alone:
            _remove_unfinished(storage, layout)  # of workers that were killed meanwhile
        _check_all_there(storage, [records[shard] for shard in wanted])
        manifest = _manifest(spec, specs, layout, [records[shard] for shard in wanted], work.kernels)
        manifest.write(storage)
        rows = sum(shard.rows for shard in missing)
        return Made(manifest, rows, time.perf_counter() - started, work.cpu_seconds, aside, work.retried)


def kept_shard_rows(url: str, spec: DatasetSpec) -> int | None:
    """The shard size of a dataset of this spec that lies there already, so that growing it keeps its shards."""
    manifest = find_manifest(Storage(url))
    return manifest.shard_rows if manifest is not None and manifest.fingerprint == spec.fingerprint else None


def on_chunks(layout: Layout, specs: Mapping[str, DatasetSpec]) -> Layout:
    """The layout with the rows a shard of those splits of which a chunk gives fewer, so that shards hold equal runs of chunks."""
    chunks = max(1, round(layout.shard_rows / next(iter(specs.values())).chunk_rows))
    cuts = {
        split: chunks * rows_per_chunk(spec, split)
        for split, spec in specs.items()
        if not isinstance(spec.problems, MatrixSpec)
    }
    return replace(layout, cuts={**layout.cuts, **{s: rows for s, rows in cuts.items() if rows != layout.shard_rows}})


@dataclass(frozen=True)
class _Done:
    """Finished shards of one unit, what the object store said at the tries before, and the BLAS kernels of the worker."""

    built: list[Built]
    failures: tuple[str, ...]
    kernels: str


class _Work:
    """Sums over the shards built now."""

    def __init__(self) -> None:
        self.cpu_seconds, self.kernels, self.retried = 0.0, set[str](), dict[str, int]()

    def add(self, done: _Done) -> None:
        self.cpu_seconds += sum(built.cpu_seconds for built in done.built)
        self.kernels.add(done.kernels)
        for failure in done.failures:
            self.retried[failure] = self.retried.get(failure, 0) + 1


def _build(specs: Mapping[str, DatasetSpec], url: str, unit: tuple[Shard, ...]) -> _Done:
    """Build one unit on a worker, again where an object store fails in passing: a few counted tries, then the error."""
    failures: list[str] = []
    while True:
        try:
            return _Done(build_unit(specs, unit, url), tuple(failures), blas_kernels())
        except PassingStoreError as error:
            failures.append(str(error.got))
            if len(failures) == TRIES:
                raise StoreError(
                    f"{error.what} (tried {TRIES} times)",
                    got="; ".join(dict.fromkeys(failures)),
                    cause=error.cause,
                    next_step=error.next_step,
                ) from error
            time.sleep(PAUSE * 2 ** (len(failures) - 1))


@dataclass(frozen=True)
class _Contents:
    """What lies in a directory: names at its top, the manifest, every record that can be read, the size of every file."""

    names: list[str]
    manifest: Manifest | None
    records: dict[str, Record]
    sizes: dict[str, int]

    @classmethod
    def of(cls, storage: Storage) -> _Contents:
        """One listing a split, and the records: few requests, since a dataset may have thousands of shards on a far store."""
        names = storage.list()
        splits = [name for name in names if name.split("-", 1)[0] in ("train", "valid", "test")]
        sizes = {f"{split}/{name}": size for split in splits for name, size in storage.sizes(split).items()}
        files = [name for name in sizes if _RECORD.fullmatch(name.rsplit("/", 1)[1])]
        texts = storage.read_texts(files)
        read = {file: record for file, text in texts.items() if (record := parse_record(text)) is not None}
        return cls(names, find_manifest(storage) if MANIFEST in names else None, read, sizes)

    def finished(self, spec: DatasetSpec, shard: Shard) -> Record | None:
        """The record of a shard that is there: of this spec, of these rows, and with a file of the recorded size."""
        record = self.records.get(record_file(shard.split, shard.index))
        right = (
            record is not None
            and record.fingerprint == spec.fingerprint
            and (record.split, record.shard, record.first_row, record.rows)
            == (shard.split, shard.index, shard.first_row, shard.rows)
            and self.sizes.get(record.file) == record.bytes
        )
        return record if right else None


def _check_arrived(storage: Storage, record: Record, scheduler: str) -> None:
    """UserError where a worker said that it wrote a shard, and no such file is here: its disk is another one."""
    for pause in (0.0, 0.5, 1.0, 2.0):  # a network file system may be a moment late
        time.sleep(pause)
        if storage.sizes(record.split).get(record.file.rsplit("/", 1)[1]) == record.bytes:
            return
    raise UserError(
        f"a worker of {scheduler} finished {record.file}, and {storage.url} does not hold it",
        expected=f"a file of {record.bytes:,} bytes",
        got=f"{size:,} bytes" if (size := storage.size(record.file)) is not None else "no such file",
        cause="--out is on a disk that the workers do not share with this machine",
        next_step="choose an --out on a shared file system or an object store (s3://...)",
    )


def _check_all_there(storage: Storage, records: Sequence[Record]) -> None:
    """UserError where a finished shard is not what its record says, just before the manifest would vouch for it."""
    sizes = {split: storage.sizes(split) for split in {record.split for record in records}}
    for record in records:
        size = sizes[record.split].get(record.file.rsplit("/", 1)[1])
        if size != record.bytes:
            raise UserError(
                f"{storage.url}/{record.file} is not what was written",
                expected=f"{record.bytes:,} bytes",
                got="no such file" if size is None else f"{size:,} bytes",
                cause="it was removed or changed while the dataset was being made",
                next_step="the same command builds it again",
            )


def _check_space(specs: Mapping[str, DatasetSpec], layout: Layout) -> None:
    """UserError where a split asks for more problems than can be told apart when written."""
    for split, rows in layout.splits.items():
        spec = specs[split]
        distinct = distinct_problems(spec)
        available = int(distinct_of_split(spec, split)) if distinct < 1e15 else None
        if available and split == TRAIN and may_repeat(spec):
            continue
        if available is not None and rows > available:
            raise UserError(
                f"{spec.task}: too few distinct problems for {rows:,} rows of {split}",
                expected=f"at most {available:,}, the split's share of {int(distinct):,} distinct written problems",
                got=f"{rows:,}",
                next_step="ask for fewer rows, or choose larger dimensions or coefficients, or more bits",
            )


def _clear_mismatch(
    storage: Storage,
    spec: DatasetSpec,
    specs: Mapping[str, DatasetSpec],
    layout: Layout,
    there: _Contents,
    on_mismatch: OnMismatch,
) -> str | None:
    """Refuse (or move aside) a directory that holds another spec, more rows than asked for, or files that are not ours."""
    problem = _mismatch(storage, spec, specs, layout, there)
    if problem is None:
        return None
    if on_mismatch == "error":
        raise problem
    return set_aside(storage.url)


def _mismatch(
    storage: Storage, spec: DatasetSpec, specs: Mapping[str, DatasetSpec], layout: Layout, there: _Contents
) -> UserError | None:
    if not there.names:
        return None
    other = _another_spec(storage, spec, specs, there)
    if other is not None:
        return other
    for split, rows in there.manifest.splits.items() if there.manifest is not None else ():
        if rows.rows > layout.splits.get(split, 0):
            return UserError(
                f"{storage.url} holds more rows of {split} than asked for",
                expected=f"at least {rows.rows:,} rows of {split}",
                got=f"{layout.splits.get(split, 0):,}",
                cause="rows that are there would be lost",
                next_step=f"{_asking(split, rows.rows)}, choose another --out, or move it aside by --on-mismatch restart",
            )
    return None


def _asking(split: str, rows: int) -> str:
    """The flag that asks for all the rows of a split that are there."""
    if split in (TRAIN, VALID, TEST):
        return f"ask for them too (--{'n' if split == TRAIN else split} {rows})"
    return f"ask for them too (--extra-test {split.removeprefix(f'{TEST}-')}:...,n={rows})"


def _another_spec(
    storage: Storage, spec: DatasetSpec, specs: Mapping[str, DatasetSpec], there: _Contents
) -> UserError | None:
    next_step = "choose another --out, or pass --on-mismatch restart to move the directory aside"
    manifest = there.manifest
    if manifest is not None and manifest.fingerprint != spec.fingerprint:
        return UserError(
            f"{storage.url} holds another dataset",
            expected=f"a dataset with {_differences(spec.model_dump(mode='json'), manifest.spec, first=True)}",
            got=_differences(spec.model_dump(mode="json"), manifest.spec, first=False),
            next_step=next_step,
        )
    known_specs = manifest.split_specs if manifest is not None else {}
    for split in known_specs.keys() & specs.keys():
        wanted, found = specs[split].model_dump(mode="json"), known_specs[split]
        if wanted != found:
            return UserError(
                f"{storage.url} holds a {split} of another spec",
                expected=f"a split with {_differences(wanted, found, first=True)}",
                got=_differences(wanted, found, first=False),
                next_step="name the extra test split otherwise, or " + next_step,
            )
    for file, record in there.records.items():
        wanted_spec = specs.get(record.split, spec)
        if record.fingerprint != wanted_spec.fingerprint and record.split not in known_specs.keys() - specs.keys():
            return UserError(
                f"{storage.url} holds shards of another dataset",
                expected=f"shards of spec {wanted_spec.fingerprint[:12]}",
                got=f"{file} of spec {record.fingerprint[:12]}",
                cause="an unfinished dataset of another task, seed or parameters",
                next_step=next_step,
            )
    known = {MANIFEST, "train", "valid", "test"}
    if manifest is None and not any(n in known or n.startswith("test-") for n in there.names):
        return UserError(
            f"{storage.url} holds other files",
            expected="an empty directory, or a dataset of the same spec",
            got=", ".join(there.names[:3]),
            next_step="choose another --out",
        )
    return None


def _differences(wanted: dict[str, object], there: dict[str, object], *, first: bool) -> str:
    """The keys in which two specs differ, with the values of the first or the second."""
    flat = [{**{k: v for k, v in d.items() if k != "problems"}, **dict(d["problems"])} for d in (wanted, there)]  # type: ignore[call-overload]
    keys = [k for k in {**flat[0], **flat[1]} if flat[0].get(k) != flat[1].get(k)]
    return ", ".join(f"{k} {json.dumps(flat[0 if first else 1].get(k))}" for k in keys)


def _same_cut(manifest: Manifest, layout: Layout) -> bool:
    return manifest.shard_rows == layout.shard_rows and {s: p.rows for s, p in manifest.splits.items()} == layout.splits


def _remove_unfinished(storage: Storage, layout: Layout) -> None:
    storage.remove_unfinished("")
    for split in layout.splits:
        storage.remove_unfinished(split)


def _remove_surplus(storage: Storage, wanted: list[Shard], layout: Layout) -> None:
    """Remove shards of an earlier, finer cut, so that nothing lies in a split that its manifest does not name."""
    keep = {record_file(s.split, s.index) for s in wanted} | {shard_file(s.split, s.index) for s in wanted}
    for split in layout.splits:
        for name in storage.list(split):
            if (_RECORD.fullmatch(name) or _SHARD.fullmatch(name)) and f"{split}/{name}" not in keep:
                storage.remove(f"{split}/{name}")


def _manifest(
    spec: DatasetSpec, specs: Mapping[str, DatasetSpec], layout: Layout, records: list[Record], kernels: set[str]
) -> Manifest:
    splits = {split: Split.of([r for r in records if r.split == split]) for split in layout.splits}
    return Manifest(
        spec=spec.model_dump(mode="json"),
        fingerprint=spec.fingerprint,
        shard_rows=layout.shard_rows,
        split_specs={
            split: own.model_dump(mode="json") for split, own in specs.items() if own.fingerprint != spec.fingerprint
        },
        splits=splits,
        provenance=collect_provenance(kernels),
    )


def _log(storage: Storage, built: Built) -> None:
    """One line a shard with its timings, beside the dataset and not in it (bytes of a dataset never depend on time)."""
    if storage.local_path is None:
        return
    line = {"shard": built.record.file, "rows": built.record.rows, "bytes": built.record.bytes}
    line |= {"seconds": round(built.seconds, 3), "cpu_seconds": round(built.cpu_seconds, 3)}
    with contextlib.suppress(OSError), log_file(storage.local_path).open("a") as file:  # a log must never end a run
        file.write(json.dumps(line) + "\n")
