"""The dataset that a run is evaluated on: its own, or another one of the same question or with the same tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mathpipe.datasets.dataset import Dataset, open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import MANIFEST
from mathpipe.datasets.io.locations import resolve_location
from mathpipe.datasets.io.storage import Storage
from mathpipe.generate.tasks.task_registry import task_of_values
from mathpipe.train.run.run_record import RunRecord, tokenizers


def data_of_run(record: RunRecord, run_dir: Path) -> str:
    """The directory or URL of the dataset that a run names, wherever the command runs; empty if it names none."""
    return resolve_location(record.data, run_dir, lambda place: Storage(place).size(MANIFEST) is not None)


def dataset_of_run(record: RunRecord, run_dir: Path, data_dir: str | Path | None, split: str) -> Dataset:
    """The split to evaluate on, in the run's encodings; UserError if it does not match the run."""
    directory = str(data_dir or data_of_run(record, run_dir))
    if not directory:
        raise UserError(
            "the run was imported and names no dataset",
            expected=f"a dataset of {record.task}",
            next_step="name one with --data DIR",
        )
    if data_dir is None and Storage(directory).size(MANIFEST) is None:
        raise UserError(
            f"{directory} holds no complete dataset",
            expected=f"the dataset of {run_dir}, whose record names {record.data}",
            cause="it was moved or removed, or is unfinished",
            next_step="name its place with --data DIR, or build it again with `mathpipe generate`",
        )
    dataset = open_dataset(directory, split, record.input_encoding, record.output_encoding, record.precision)
    if record.imported_from is not None and data_dir is not None and _same_tokens(record, dataset):
        return dataset  # published models are tested on data of other generators
    if not _ask_the_same(dataset.spec, record.spec):
        raise UserError(
            f"{directory} contains another task than the run was trained on",
            expected=_name_task(record.spec),
            got=_name_task(dataset.spec),
        )
    if data_dir is None and dataset.manifest.spec != record.spec:
        raise UserError(
            f"{directory} no longer contains the data of this run",
            expected=f"the spec {json.dumps(record.spec, sort_keys=True)}",
            got=json.dumps(dataset.manifest.spec, sort_keys=True),
            cause="the dataset was regenerated with other parameters",
            next_step=f"train again, or evaluate on it anyway with `--data {directory}`",
        )
    return dataset


def _ask_the_same(spec: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the tasks are the same, or pose the same question: the generators of integration."""
    if spec.get("source_digest") != other.get("source_digest"):
        return False
    return spec["task"] == other["task"] or task_of_values(spec).question == task_of_values(other).question


def _same_tokens(record: RunRecord, dataset: Dataset) -> bool:
    """Whether the problems of a dataset are written with the tokens of the run."""
    pairs = zip(tokenizers(record), (dataset.source, dataset.target), strict=True)
    return all((a.vocabulary, a.format) == (b.vocabulary, b.format) for a, b in pairs)


def _name_task(spec: dict[str, Any]) -> str:
    """The name of a task, and the digest of its code if it is outside the package."""
    digest = spec.get("source_digest")
    return f"{spec['task']} (source {digest[:12]})" if digest is not None else str(spec["task"])
