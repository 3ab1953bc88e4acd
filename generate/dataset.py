"""Making a dataset: compare what is wanted with what is there, build the missing shards, write the manifest last."""

from __future__ import annotations

import functools
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from threadpoolctl import threadpool_info

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.manifest import MANIFEST, Manifest, Record, Split, find_manifest, read_record, record_file
from mathpipe.datasets.storage import Storage, set_aside
from mathpipe.generate.cluster import run
from mathpipe.generate.law import Law
from mathpipe.generate.layout import Layout, Shard
from mathpipe.generate.shard import Built, build_shard
from mathpipe.generate.splits import share
from mathpipe.generate.tasks import get_task

OnMismatch = Literal["error", "restart"]


@dataclass(frozen=True)
class Made:
    """What a run of the generator did: the manifest, and how many rows were built now (the rest was there)."""

    manifest: Manifest
    built_rows: int
    seconds: float
    cpu_seconds: float
    set_aside: str | None = None


def make_dataset(
    law: Law,
    layout: Layout,
    url: str,
    *,
    workers: int,
    on_mismatch: OnMismatch = "error",
    on_shard: Callable[[Record, bool], None] = lambda record, built: None,
) -> Made:
    """Bring a directory to the state that (law, layout) describes; shards that are there and right are kept.

    ``on_shard(record, built)`` is called for each shard, those found first. Killed at any moment, the same call goes on.
    UserError where the directory holds another law or more rows than asked for (``restart``: it is moved aside instead), and
    where the law has too few distinct problems.
    """
    started = time.perf_counter()
    _check_space(law, layout)
    storage = Storage(url)
    aside = _clear_mismatch(storage, law, layout, on_mismatch)
    wanted = layout.shards()
    found = {shard: record for shard in wanted if (record := _finished(storage, law, shard))}
    for record in found.values():
        on_shard(record, False)
    manifest = find_manifest(storage)
    if manifest is not None and len(found) == len(wanted) and _same_cut(manifest, layout):
        return Made(manifest, 0, time.perf_counter() - started, 0.0, aside)
    storage.remove(MANIFEST)  # from here on the dataset is not whole
    _remove_unfinished(storage, layout)
    records = dict(found)
    cpu = 0.0
    for built in _build(law, [shard for shard in wanted if shard not in found], url, workers):
        record = built.record
        records[Shard(record.split, record.shard, record.first_row, record.rows)] = record
        cpu += built.cpu_seconds
        on_shard(record, True)
        _log(storage, built)
    _remove_surplus(storage, wanted, layout)
    manifest = _manifest(law, layout, [records[shard] for shard in wanted])
    manifest.write(storage)
    rows = sum(r.rows for shard, r in records.items() if shard not in found)
    return Made(manifest, rows, time.perf_counter() - started, cpu, aside)


def kept_shard_rows(url: str, law: Law) -> int | None:
    """The shard size of a dataset of this law that lies there already, so that growing it keeps its shards."""
    manifest = find_manifest(Storage(url))
    return manifest.shard_rows if manifest is not None and manifest.law_digest == law.digest else None


def _build(law: Law, shards: list[Shard], url: str, workers: int) -> Iterator[Built]:
    return run(functools.partial(_build_one, law, url), shards, workers)


def _build_one(law: Law, url: str, shard: Shard) -> Built:
    return build_shard(law, shard, url)


def _check_space(law: Law, layout: Layout) -> None:
    """UserError where a split asks for more problems than can be told apart when written."""
    distinct = get_task(law.task).distinct_problems(law.operands)
    for split, rows in layout.splits.items():
        available = int(share(split) * distinct) if distinct < 1e15 else None
        if available is not None and rows > available:
            raise UserError(
                f"{law.task}: too few distinct problems for {rows:,} rows of {split}",
                expected=f"at most {available:,}, the split's share of {int(distinct):,} distinct written problems",
                got=f"{rows:,}",
                next_step="ask for fewer rows, or choose larger dimensions or coefficients",
            )


def _clear_mismatch(storage: Storage, law: Law, layout: Layout, on_mismatch: OnMismatch) -> str | None:
    """Refuse (or move aside) a directory that holds another law, more rows than asked for, or files that are not ours."""
    problem = _mismatch(storage, law, layout)
    if problem is None:
        return None
    if on_mismatch == "error":
        raise problem
    return set_aside(storage.url)


def _mismatch(storage: Storage, law: Law, layout: Layout) -> UserError | None:
    names = storage.list()
    if not names:
        return None
    other = _another_law(storage, law, names)
    if other is not None:
        return other
    manifest = find_manifest(storage)
    for split, there in manifest.splits.items() if manifest is not None else ():
        if there.rows > layout.splits.get(split, 0):
            return UserError(
                f"{storage.url} holds more rows of {split} than asked for",
                expected=f"at least {there.rows:,} rows of {split}",
                got=f"{layout.splits.get(split, 0):,}",
                cause="rows that are there would be lost",
                next_step="choose another --out, or pass --on-mismatch restart to move the directory aside",
            )
    return None


def _another_law(storage: Storage, law: Law, names: list[str]) -> UserError | None:
    next_step = "choose another --out, or pass --on-mismatch restart to move the directory aside"
    manifest = find_manifest(storage)
    if manifest is not None and manifest.law_digest != law.digest:
        return UserError(
            f"{storage.url} holds another dataset",
            expected=f"a dataset with {_differences(law.model_dump(mode='json'), manifest.law, first=True)}",
            got=_differences(law.model_dump(mode="json"), manifest.law, first=False),
            next_step=next_step,
        )
    for split in names:
        for name in storage.list(split) if split.startswith(("train", "valid", "test")) else ():
            if name.endswith(".json") and not name.startswith("."):
                record = read_record(storage, split, int(name[:-5])) if name[:-5].isdigit() else None
                if record is not None and record.law_digest != law.digest:
                    return UserError(
                        f"{storage.url} holds shards of another dataset",
                        expected=f"shards of law {law.digest[:12]}",
                        got=f"{split}/{name} of law {record.law_digest[:12]}",
                        cause="an unfinished dataset of another task, seed or parameters",
                        next_step=next_step,
                    )
    known = {MANIFEST, "train", "valid", "test"}
    if manifest is None and not any(n in known or n.startswith("test-") for n in names):
        return UserError(
            f"{storage.url} holds other files",
            expected="an empty directory, or a dataset of the same law",
            got=", ".join(names[:3]),
            next_step="choose another --out",
        )
    return None


def _differences(wanted: dict[str, object], there: dict[str, object], *, first: bool) -> str:
    """The keys in which two laws differ, with the values of the first or the second."""
    flat = [{**{k: v for k, v in d.items() if k != "operands"}, **dict(d["operands"])} for d in (wanted, there)]  # type: ignore[call-overload]
    keys = [k for k in {**flat[0], **flat[1]} if flat[0].get(k) != flat[1].get(k)]
    return ", ".join(f"{k} {json.dumps(flat[0 if first else 1].get(k))}" for k in keys)


def _finished(storage: Storage, law: Law, shard: Shard) -> Record | None:
    """The record of a shard that is there: of this law, of these rows, and with a file of the recorded size."""
    record = read_record(storage, shard.split, shard.index)
    right = (
        record is not None
        and record.law_digest == law.digest
        and (record.split, record.shard, record.first_row, record.rows)
        == (shard.split, shard.index, shard.first_row, shard.rows)
        and storage.size(record.file) == record.bytes
    )
    return record if right else None


def _same_cut(manifest: Manifest, layout: Layout) -> bool:
    return manifest.shard_rows == layout.shard_rows and {s: p.rows for s, p in manifest.splits.items()} == layout.splits


def _remove_unfinished(storage: Storage, layout: Layout) -> None:
    storage.remove_unfinished("")
    for split in layout.splits:
        storage.remove_unfinished(split)


def _remove_surplus(storage: Storage, wanted: list[Shard], layout: Layout) -> None:
    """Remove shards of an earlier, finer cut, so that nothing lies in a split that its manifest does not name."""
    keep = {record_file(s.split, s.index) for s in wanted}
    for split in layout.splits:
        for name in storage.list(split):
            stem = name.rsplit(".", 1)[0]
            if stem.isdigit() and f"{split}/{stem}.json" not in keep:
                storage.remove(f"{split}/{name}")


def _manifest(law: Law, layout: Layout, records: list[Record]) -> Manifest:
    splits = {split: Split.of([r for r in records if r.split == split]) for split in layout.splits}
    return Manifest(
        law=law.model_dump(mode="json"),
        law_digest=law.digest,
        shard_rows=layout.shard_rows,
        splits=splits,
        made_with=made_with(),
    )


def made_with() -> dict[str, str]:
    """Versions and CPU kernels: with these equal, the same law gives the same bytes."""
    libraries = {name: version(name) for name in ("mathpipe", "numpy", "pyarrow")}
    pools = [p for p in threadpool_info() if p["user_api"] == "blas" and "numpy" in p["filepath"]]
    blas = [f"{p['internal_api']} {p['version']} {p.get('architecture', '')}".strip() for p in pools]
    return {
        **libraries,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "blas": "; ".join(blas) or "unknown",
    }


def _log(storage: Storage, built: Built) -> None:
    """One line a shard with its timings, beside the dataset and not in it (bytes of a dataset never depend on time)."""
    if storage.local_path is None:
        return
    line = {"shard": built.record.file, "rows": built.record.rows, "bytes": built.record.bytes}
    line |= {"seconds": round(built.seconds, 3), "cpu_seconds": round(built.cpu_seconds, 3)}
    log = storage.local_path.with_name(storage.local_path.name + ".log.jsonl")
    with log.open("a") as file:
        file.write(json.dumps(line) + "\n")
