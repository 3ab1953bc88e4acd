"""The evidence for every solution of a dataset: a second pass, since a proof takes longer than a pair to generate.

For each shard the evidence row by row is written beside it (``shard_evidence``), as soon as its rows are done: after an
interruption only shards in progress start again. Then the counts by outcome and by evidence are added to the records and to the
manifest. Rows, shards and digests stay as they are.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import Manifest, ShardRecord, Split, read_manifest
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.format.shard_evidence import ShardEvidence, read_evidence
from mathpipe.datasets.io.storage import Storage
from mathpipe.generate.build.locking import lock_directory
from mathpipe.generate.cards.dataset_card import finish_dataset
from mathpipe.generate.curate.dataset_verification import Damage, load_split_specs
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.execution.executors import LogFunction, run
from mathpipe.generate.outcomes import EVIDENCE, UNCONFIRMED, RowFault, solution_fault
from mathpipe.generate.tasks.task_registry import task_of, task_of_values

SLICE_ROWS = 500  # rows that a worker takes at a time
STRONG_EVIDENCE = ("proven", "enclosed")


@dataclass(frozen=True)
class EvidenceReport:
    """The rows by (outcome, evidence), and the rows to look at by shard.

    ``wrong``: whether a solution is known to be wrong, not merely unconfirmed.
    """

    rows: int
    counts: Counter[tuple[str, str]]
    remarks: tuple[Damage, ...]
    wrong: bool


@dataclass(frozen=True)
class _Slice:
    """Rows [start, stop) of a row group of a shard; ``first``: the position of the first one in the shard."""

    record: ShardRecord
    group: int
    start: int
    stop: int
    first: int


@dataclass(frozen=True)
class _SliceEvidence:
    of: _Slice
    outcome: NDArray[np.int8]
    evidence: NDArray[np.int8]


def prove_dataset(
    url: str,
    workers: int | None = 0,
    on_start: Callable[[int, int], object] = lambda rows, done: None,
    on_rows: Callable[[int], object] = lambda rows: None,
    *,
    scheduler: str | None = None,
    log: LogFunction = lambda text: None,
) -> EvidenceReport:
    """Verify every solution as a prediction, with proofs, and store the evidence. Resumable: repeat the call.

    ``on_start(rows, done)``: the rows of the dataset, and those whose evidence is already stored. ``on_rows``: rows done since.
    UserError if the task has no proofs.
    """
    manifest, storage = read_manifest(url), Storage(url)
    specs = load_split_specs(manifest, url)
    _check_task(manifest)
    records = [record for split in manifest.splits.values() for record in split.shards]
    with lock_directory(storage):
        stored = {record.file: read_evidence(storage, record) for record in records}
        evidence = {file: shard for file, shard in stored.items() if shard is not None}
        missing = [record for record in records if record.file not in evidence]
        on_start(sum(r.rows for r in records), sum(len(shard.outcome) for shard in evidence.values()))
        slices = [part for record in missing for part in _slices(specs[record.split], record)]
        verified = functools.partial(_verify_slice, specs, storage.absolute_url)
        slice_evidence = run(verified, slices, workers, scheduler, log)
        outcomes = task_of_values(manifest.spec).outcomes
        for record, shard in _by_shard(outcomes, slice_evidence, on_rows):
            shard.write(storage, record)
            evidence[record.file] = shard
        _write_counts(storage, manifest, evidence)
    return _report(manifest, records, evidence)


def _check_task(manifest: Manifest) -> None:
    if not task_of_values(manifest.spec).grades_evidence:
        raise UserError(
            f"{manifest.task} has no proofs",
            expected="a dataset of integrals or differential equations",
            got=manifest.task,
            next_step="`mathpipe verify` without --prove recomputes every solution",
        )


def _slices(spec: DatasetSpec, record: ShardRecord) -> Iterator[_Slice]:
    first = 0
    for group, rows in enumerate(task_of(spec).example_format(spec).row_group_sizes(record.rows)):
        for start in range(0, rows, SLICE_ROWS):
            stop = min(start + SLICE_ROWS, rows)
            yield _Slice(record, group, start, stop, first + start)
        first += rows


def _verify_slice(specs: dict[str, DatasetSpec], url: str, part: _Slice) -> _SliceEvidence:
    """Verify some rows of a shard as predictions of themselves."""
    spec = specs[part.record.split]
    task = task_of(spec)
    try:
        with Storage(url).read(part.record.file) as opened, pq.ParquetFile(opened) as file:
            rows: TokenExamples = task.example_format(spec).from_arrow(
                file.read_row_group(part.group, use_threads=False)
            )
    except (pa.ArrowException, FileNotFoundError, IndexError) as error:
        raise UserError(
            f"{url}/{part.record.file} cannot be read",
            got=str(error).splitlines()[0],
            cause="it was removed or damaged after writing",
            next_step=f"`mathpipe verify {url}` lists all damage",
        ) from error
    rows = rows.take(np.arange(part.start, part.stop))
    verification = task.verify(rows.problems, rows.solutions, rows.solutions)
    return _SliceEvidence(part, verification.outcome.astype(np.int8), verification.evidence.astype(np.int8))


def _by_shard(
    outcomes: tuple[str, ...], results: Iterable[_SliceEvidence], on_rows: Callable[[int], object]
) -> Iterator[tuple[ShardRecord, ShardEvidence]]:
    """The evidence of each shard once all of its slices are verified. ``outcomes``: the names of the task's outcomes."""
    parts: dict[str, list[_SliceEvidence]] = {}
    for result in results:
        record = result.of.record
        group = parts.setdefault(record.file, [])
        group.append(result)
        on_rows(len(result.outcome))
        if sum(len(part.outcome) for part in group) == record.rows:
            ordered = sorted(parts.pop(record.file), key=lambda part: part.of.first)
            outcome, evidence = (
                np.concatenate([getattr(part, name) for part in ordered]) for name in ("outcome", "evidence")
            )
            yield record, ShardEvidence(outcome, evidence, outcomes, EVIDENCE)


def _write_counts(storage: Storage, manifest: Manifest, evidence: dict[str, ShardEvidence]) -> None:
    """Add the counts to the records of the shards, then to the manifest."""
    splits = {}
    for name, split in manifest.splits.items():
        records = []
        for record in split.shards:
            shard = evidence[record.file]
            counts = {"evidence": shard.evidence_counts(), "outcomes": shard.outcome_counts()}
            records.append(record.model_copy(update=counts))
            if records[-1] != record:
                records[-1].write(storage)
        splits[name] = Split.from_records(records)
    proven = manifest.model_copy(update={"splits": splits})
    if proven != manifest:
        finish_dataset(storage, proven)


def _report(manifest: Manifest, records: list[ShardRecord], evidence: dict[str, ShardEvidence]) -> EvidenceReport:
    correct = task_of_values(manifest.spec).correct_outcomes
    counts: Counter[tuple[str, str]] = Counter()
    remarks: list[Damage] = []
    for record in records:
        shard = evidence[record.file]
        counts += shard.joint_counts()
        for (outcome, grade), _ in sorted(shard.joint_counts().items()):
            fault = _remark(outcome, grade, correct)
            if fault is not None:
                has_both = (shard.outcome == shard.outcome_names.index(outcome)) & (
                    shard.evidence == shard.evidence_names.index(grade)
                )
                rows = (record.first_row + np.flatnonzero(has_both)).tolist()
                remarks.append(Damage.of_rows(record.file, fault, rows))
    wrong = any(outcome not in correct and outcome not in UNCONFIRMED for outcome, _ in counts)
    return EvidenceReport(sum(record.rows for record in records), counts, tuple(remarks), wrong)


def _remark(outcome: str, grade: str, correct: frozenset[str]) -> RowFault | None:
    """What to say about rows of this outcome and evidence; None if there is nothing to say."""
    if outcome not in correct:
        return solution_fault(outcome)
    if grade in STRONG_EVIDENCE:
        return None
    return RowFault(f"its solution is right at the points tried, no more ({grade})", "unconfirmed", outcome)
