"""Build a dataset: compare the requested shards with the existing ones, build the missing ones, write the manifest last."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.directory import (
    CARD,
    EVIDENCE_NAME,
    RECORD_NAME,
    SHARD_NAME,
    evidence_file,
    record_file,
    record_folder,
    shard_file,
    split_folder,
)
from mathpipe.datasets.format.manifest import (
    MANIFEST,
    Manifest,
    ShardRecord,
    Split,
    find_manifest,
)
from mathpipe.datasets.io.atomic_files import own_copy
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.io.store_errors import StoreError, TransientStoreError
from mathpipe.generate.build.directory_contents import DirectoryContents, OnMismatch, clear_mismatch
from mathpipe.generate.build.locking import lock_directory, log_file
from mathpipe.generate.build.shard import ShardResult, build_unit, units
from mathpipe.generate.cards.dataset_card import finish_dataset, write_card
from mathpipe.generate.chunks.acceptance import NOTABLE_RATE
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.execution.executors import LocalWorkers, run
from mathpipe.generate.layout import Layout, Shard, whole_chunks
from mathpipe.generate.provenance import blas_kernels, collect_provenance
from mathpipe.generate.splits import TRAIN
from mathpipe.generate.tasks.external.checked_chunks import check_deterministic
from mathpipe.generate.tasks.task_registry import task_of

MAX_ATTEMPTS = 4  # per shard after transient storage errors; the storage client has already retried each request itself
RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class DatasetResult:
    """The manifest, and how many rows this call built; the other rows existed before.

    ``backup``: where a mismatching dataset was moved; ``retried``: number of retries by error message of the store.
    """

    manifest: Manifest
    built_rows: int
    seconds: float
    cpu_seconds: float
    backup: str | None
    retried: dict[str, int]


def make_dataset(
    spec: DatasetSpec,
    layout: Layout,
    url: str | Path,
    *,
    split_specs: Mapping[str, DatasetSpec] | None = None,
    workers: int | None = 0,
    scheduler: str | None = None,
    on_mismatch: OnMismatch = "error",
    on_shard: Callable[[ShardRecord, bool], None] = lambda record, built: None,
    log: Callable[[str], None] = lambda text: None,
    local: LocalWorkers | None = None,
    retry_seconds: float = RETRY_SECONDS,
) -> DatasetResult:
    """Bring a directory to the state that (spec, layout) describes; valid existing shards are kept.

    ``mathpipe.get_task(name).make_spec(options, seed)`` makes the spec; ``url`` is a directory or any fsspec URL.
    ``split_specs``: the specs of extra test splits (``test-<name>``); all other splits have ``spec``.
    ``workers``: number of local processes (None: chosen by ``executors.run``); with ``scheduler`` the Dask cluster there
    does the work. ``on_shard(record, built)`` is called for each shard, existing ones first. ``log`` receives messages for
    the user. ``local``: how local workers are started, and when. ``retry_seconds``: wait before the second attempt at a shard after
    a transient error of the store, doubled before each further one. The call is resumable: repeat it after an interruption.
    UserError if the directory holds another spec or more rows than requested (``restart`` moves it to a backup instead), if
    another run uses it, if the spec has too few distinct problems or is of another task, or if ``split_specs`` names no split.
    """
    started = time.perf_counter()
    specs = _specs_by_split(spec, layout, split_specs or {})
    layout = align_to_chunks(layout, specs)
    _check_space(specs, layout)
    storage = Storage(str(url))
    with contextlib.ExitStack() as locks:
        exclusive = locks.enter_context(lock_directory(storage))
        existing = DirectoryContents.of(storage)
        backup = clear_mismatch(storage, spec, specs, layout, existing, on_mismatch)
        if backup is not None:
            exclusive = locks.enter_context(lock_directory(storage))
            existing = DirectoryContents.of(storage)
        requested = layout.shards()
        records = {shard: record for shard in requested if (record := existing.finished(specs[shard.split], shard))}
        for record in records.values():
            on_shard(record, False)
        if existing.manifest is not None and len(records) == len(requested) and _same_layout(existing.manifest, layout):
            if CARD not in existing.names:
                write_card(storage, existing.manifest)
            return DatasetResult(existing.manifest, 0, time.perf_counter() - started, 0.0, backup, {})
        storage.remove(MANIFEST)  # from here on the dataset is incomplete
        if exclusive:
            _remove_unfinished(storage, layout)
        missing = [shard for shard in requested if shard not in records]
        totals = _Totals()
        if missing:
            for distinct in {spec.fingerprint: spec for spec in specs.values()}.values():
                check_deterministic(task_of(distinct), distinct)
                _log_acceptance(distinct, log)
        build = functools.partial(_build, specs, storage.absolute_url, retry_seconds)
        for unit_result in run(build, units(specs, missing), workers, scheduler, log, local=local):
            totals.add(unit_result)
            for shard_result in unit_result.shards:
                record = shard_result.record
                if scheduler is not None:
                    _check_arrived(storage, record, scheduler)
                records[Shard(record.split, record.shard, record.first_row, record.rows)] = record
                on_shard(record, True)
                _log(storage, shard_result)
            if unit_result.failures:
                files = ", ".join(result.record.file for result in unit_result.shards)
                log(f"{files} was retried {len(unit_result.failures)} times: {'; '.join(unit_result.failures)}")
        _remove_surplus(storage, requested, layout)
        if exclusive:
            _remove_unfinished(storage, layout)  # of workers that were killed meanwhile
        _check_all_there(storage, [records[shard] for shard in requested])
        manifest = _manifest(spec, specs, layout, [records[shard] for shard in requested], totals.kernels)
        finish_dataset(storage, manifest)
        rows = sum(shard.rows for shard in missing)
        return DatasetResult(manifest, rows, time.perf_counter() - started, totals.cpu_seconds, backup, totals.retried)


def _log_acceptance(spec: DatasetSpec, log: Callable[[str], None]) -> None:
    """Say so if few of the sampled problems are accepted: generation then takes as many times longer."""
    acceptance = task_of(spec).acceptance(spec)
    if acceptance is not None and acceptance.rate < NOTABLE_RATE:
        log(f"{spec.task}: {acceptance}; smaller or larger coefficients, or another dimension, may be much faster")


def existing_shard_rows(url: str, spec: DatasetSpec) -> int | None:
    """The shard size of an existing dataset of this spec, so that growing the dataset keeps its shards."""
    manifest = find_manifest(Storage(url))
    return manifest.shard_rows if manifest is not None and manifest.fingerprint == spec.fingerprint else None


def align_to_chunks(layout: Layout, specs: Mapping[str, DatasetSpec]) -> Layout:
    """The layout with shards of whole chunks, rounded to the nearest number of them.

    Splits that get fewer rows of a chunk have smaller shards: all shards of a stream cover equally many chunks.
    """
    first = next(iter(specs.values()))
    shard_rows = whole_chunks(layout.shard_rows, first.chunk_rows)
    by_split = {}
    for split, spec in specs.items():
        task = task_of(spec)
        if task.shares_stream:
            by_split[split] = shard_rows // first.chunk_rows * task.rows_per_chunk(spec, split)
        else:
            by_split[split] = whole_chunks(layout.shard_rows_by_split.get(split, layout.shard_rows), spec.chunk_rows)
    return replace(
        layout,
        shard_rows=shard_rows,
        shard_rows_by_split={split: rows for split, rows in by_split.items() if rows != shard_rows},
    )


@dataclass(frozen=True)
class _UnitResult:
    """The shards of one unit, the storage errors of earlier attempts, and the BLAS kernels of the worker."""

    shards: list[ShardResult]
    failures: tuple[str, ...]
    kernels: str


class _Totals:
    """Totals over the shards that this call builds."""

    def __init__(self) -> None:
        self.cpu_seconds, self.kernels, self.retried = 0.0, set[str](), dict[str, int]()

    def add(self, result: _UnitResult) -> None:
        self.cpu_seconds += sum(shard.cpu_seconds for shard in result.shards)
        self.kernels.add(result.kernels)
        for failure in result.failures:
            self.retried[failure] = self.retried.get(failure, 0) + 1


def _build(specs: Mapping[str, DatasetSpec], url: str, retry_seconds: float, unit: tuple[Shard, ...]) -> _UnitResult:
    """Build one unit on a worker; transient storage errors are retried up to ``MAX_ATTEMPTS`` times."""
    failures: list[str] = []
    while True:
        try:
            return _UnitResult(build_unit(specs, unit, url), tuple(failures), blas_kernels())
        except TransientStoreError as error:
            failures.append(str(error.got))
            if len(failures) == MAX_ATTEMPTS:
                raise StoreError(
                    f"{error.what} (tried {MAX_ATTEMPTS} times)",
                    got="; ".join(dict.fromkeys(failures)),
                    cause=error.cause,
                    next_step=error.next_step,
                ) from error
            time.sleep(retry_seconds * 2 ** (len(failures) - 1))


def _check_arrived(storage: Storage, record: ShardRecord, scheduler: str) -> None:
    """UserError if a worker reports a written shard that is not visible here, because it uses another disk."""
    for pause in (0.0, 0.5, 1.0, 2.0):  # a network file system may show the file late
        time.sleep(pause)
        listed = storage.sizes(split_folder(record.split)).get(record.file.rsplit("/", 1)[1])
        if record.bytes in (listed, storage.size(record.file)):  # the listing of a store may show it late
            return
    raise UserError(
        f"a worker of {scheduler} finished {record.file}, and {storage.url} does not hold it",
        expected=f"a file of {record.bytes:,} bytes",
        got=f"{size:,} bytes" if (size := storage.size(record.file)) is not None else "no such file",
        cause="--out is on a disk that the workers do not share with this machine",
        next_step="choose an --out on a shared file system or an object store (s3://...)",
    )


def _check_all_there(storage: Storage, records: Sequence[ShardRecord]) -> None:
    """UserError if the size of a finished shard differs from its record; checked just before the manifest is written.

    The listing of a store may be older than its files: it may lack what was written just now.
    """
    sizes = {split: storage.sizes(split_folder(split)) for split in {record.split for record in records}}
    for record in records:
        size = sizes[record.split].get(record.file.rsplit("/", 1)[1])
        if size != record.bytes and (size := storage.size(record.file)) != record.bytes:
            raise UserError(
                f"{storage.url}/{record.file} is not what was written",
                expected=f"{record.bytes:,} bytes",
                got="no such file" if size is None else f"{size:,} bytes",
                cause="it was removed or changed while the dataset was being made",
                next_step="the same command builds it again",
            )


def _specs_by_split(
    spec: DatasetSpec, layout: Layout, split_specs: Mapping[str, DatasetSpec]
) -> dict[str, DatasetSpec]:
    """The spec of each split; UserError for specs of other splits, and for problems of another kind than those of the task."""
    if unknown := sorted(split_specs.keys() - layout.splits.keys()):
        raise UserError(
            f"the layout has no split {unknown[0]}, for which there is a spec",
            expected=f"specs of {', '.join(layout.splits)}",
            got=unknown[0],
            next_step=f'add it to the splits: Layout({{..., "{unknown[0]}": 10_000}}, ...)',
        )
    specs = {split: split_specs.get(split, spec) for split in layout.splits}
    for each in specs.values():
        expected = task_of(each).spec_model
        if not isinstance(each.problems, expected):
            raise UserError(
                f"the spec of {each.task} has problems of another task",
                expected=expected.__name__,
                got=type(each.problems).__name__,
                next_step=f"mathpipe.get_task({each.task!r}).make_spec(options, seed) makes one that fits",
            )
    return specs


def _check_space(specs: Mapping[str, DatasetSpec], layout: Layout) -> None:
    """UserError if a split requests more rows than the spec has distinct problems."""
    for split, rows in layout.splits.items():
        spec = specs[split]
        task = task_of(spec)
        distinct = task.distinct_problems(spec.problems)
        available = int(task.distinct_of_split(spec.problems, split)) if distinct < 1e15 else None
        if available and split == TRAIN and task.may_repeat:
            continue
        if available is not None and rows > available:
            raise UserError(
                f"{spec.task}: too few distinct problems for {rows:,} rows of {split}",
                expected=f"at most {available:,}, the split's share of {int(distinct):,} distinct written problems",
                got=f"{rows:,}",
                next_step="ask for fewer rows, or choose larger dimensions or coefficients, or more bits",
            )


def _same_layout(manifest: Manifest, layout: Layout) -> bool:
    return manifest.shard_rows == layout.shard_rows and {s: p.rows for s, p in manifest.splits.items()} == layout.splits


def _remove_unfinished(storage: Storage, layout: Layout) -> None:
    storage.remove_unfinished("")
    for split in layout.splits:
        for folder in (split_folder(split), record_folder(split)):
            storage.remove_unfinished(folder)


def _remove_surplus(storage: Storage, requested: list[Shard], layout: Layout) -> None:
    """Remove shards of an earlier, finer layout, so that a split holds only files that the manifest lists."""
    keep = {name(s.split, s.index) for s in requested for name in (record_file, shard_file, evidence_file)}
    for split in layout.splits:
        for folder in (split_folder(split), record_folder(split)):
            for name in storage.list(folder):
                ours = any(pattern.fullmatch(name) for pattern in (RECORD_NAME, SHARD_NAME, EVIDENCE_NAME))
                if ours and f"{folder}/{name}" not in keep:
                    storage.remove(f"{folder}/{name}")


def _manifest(
    spec: DatasetSpec, specs: Mapping[str, DatasetSpec], layout: Layout, records: list[ShardRecord], kernels: set[str]
) -> Manifest:
    splits = {split: Split.from_records([r for r in records if r.split == split]) for split in layout.splits}
    return Manifest(
        spec=spec.model_dump(mode="json"),
        fingerprint=spec.fingerprint,
        shard_rows=layout.shard_rows,
        split_specs={
            split: split_spec.model_dump(mode="json")
            for split, split_spec in specs.items()
            if split_spec.fingerprint != spec.fingerprint
        },
        splits=splits,
        provenance=collect_provenance(kernels),
    )


def _log(storage: Storage, result: ShardResult) -> None:
    """Append the timings of a shard to a log beside the dataset, whose own bytes never depend on time."""
    if storage.local_path is None:
        return
    line = {"shard": result.record.file, "rows": result.record.rows, "bytes": result.record.bytes}
    line |= {"seconds": round(result.seconds, 3), "cpu_seconds": round(result.cpu_seconds, 3)}
    path = log_file(storage.local_path)
    with contextlib.suppress(OSError, UserError):  # a log must never end a run
        own_copy(path)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
