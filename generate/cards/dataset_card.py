"""The dataset card, ``README.md``: a header that Hugging Face reads, then the dataset in words.

The header names each split once. Extra test splits are configurations of their own, ``load_dataset(DIR, "far")``, since they may
have other columns, and none is taken for the test split. The text follows from the manifest. What a user writes below ``END``, and
the keys of the header that are not computed, are preserved when the card is written again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.directory import CARD, EXTRA_PREFIX, split_folder
from mathpipe.datasets.format.manifest import Manifest
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.problem_types.type_registry import problem_type_of
from mathpipe.generate.cards.spec_parameters import generate_command, parameter_rows
from mathpipe.generate.tasks.task import Task
from mathpipe.generate.tasks.task_registry import parse_spec, task_of_values

END = "<!-- Text below this line is yours: mathpipe preserves it when it writes the card again. -->"
_SIZES = ("K", "M", "B", "T")
_COMPUTED_KEYS = ("configs", "size_categories")  # of the header; a user may change all others
_COLUMNS = {
    "row": "number of the example in its split, from 0",
    "clean_problem": "the problem without noise, to which the solution belongs",
    "problem_rows": "rows of the problem",
    "problem_cols": "columns of the problem",
    "solution_rows": "rows of the solution",
    "solution_cols": "columns of the solution",
    "task": "token of the task of this problem",
    "spectrum": "distribution of the eigenvalues of this problem",
    "operators": "number of operators of the sampled expression",
    "class": "class by which accuracy is reported",
}
_VALUES = {  # problem type -> what the lists of problems and solutions hold
    "matrices": "entries row by row",
    "expressions": "ids of prefix tokens; the footer of each file holds the vocabulary",
    "sequences": "ids of tokens; the footer of each file holds the vocabulary",
    "integers": "integers; lists start with their length",
}


def finish_dataset(storage: Storage, manifest: Manifest) -> None:
    """Write the card, then the manifest, which completes the dataset."""
    write_card(storage, manifest)
    manifest.write(storage)


def write_card(storage: Storage, manifest: Manifest) -> None:
    """Write the card of a dataset, unless it is there already."""
    existing = storage.read_text(CARD)
    card = dataset_card(manifest, existing)
    if card != existing:
        storage.write_text(CARD, card)


def dataset_card(manifest: Manifest, existing: str | None = None) -> str:
    """The card of a dataset, with what a user has added to an ``existing`` one."""
    header, notes = _user_parts(existing)
    parts = [
        f"---\n{_yaml({**_header(manifest), **header})}---",
        _body(manifest),
        END,
        notes.strip("\n"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _user_parts(existing: str | None) -> tuple[dict[str, Any], str]:
    """The keys of the header that the user sets, and the text below ``END``; the whole text of a card that is not ours."""
    if existing is None:
        return {}, ""
    header: Any = None
    body = existing
    match = re.match(r"---\n(.*?\n)---\n", existing, re.DOTALL)
    if match is not None:
        with contextlib.suppress(yaml.YAMLError):
            header, body = yaml.safe_load(match[1]), existing[match.end() :]
    keys = {k: v for k, v in header.items() if k not in _COMPUTED_KEYS} if isinstance(header, dict) else {}
    return keys, body.split(END, 1)[1] if END in body else body


def _header(manifest: Manifest) -> dict[str, Any]:
    rows = sum(split.rows for split in manifest.splits.values())
    return {
        "pretty_name": manifest.task,
        "license": "unknown" if _imported(manifest.spec) else "cc0-1.0",
        "tags": ["mathematics", "mathpipe", manifest.task],
        "size_categories": [size_category(rows)],
        "configs": _configs(manifest),
    }


def _configs(manifest: Manifest) -> list[dict[str, Any]]:
    """The configurations of ``load_dataset``: one of train, valid and test, and one for each extra test split."""

    def files(name: str, split: str) -> dict[str, str]:
        return {"split": name, "path": f"{split_folder(split)}/*.parquet"}

    splits = [split for split, part in manifest.splits.items() if part.rows]
    main = [files(split, split) for split in splits if not split.startswith(EXTRA_PREFIX)]
    configs: list[dict[str, Any]] = []
    if main:
        configs.append({"config_name": "default", "default": True, "data_files": main})
    return configs + [
        {"config_name": split.removeprefix(EXTRA_PREFIX), "data_files": [files("test", split)]}
        for split in splits
        if split.startswith(EXTRA_PREFIX)
    ]


def size_category(rows: int) -> str:
    """The size category of Hugging Face: ``n<1K``, ``1K<n<10K``, ``10K<n<100K``, ``100K<n<1M``, ..., ``n>1T``."""
    if rows < 1000:
        return "n<1K"
    power = len(str(rows)) - 1
    if power >= 12:
        return "n>1T"
    low, high = (f"{10 ** (p % 3)}{_SIZES[p // 3 - 1]}" for p in (power, power + 1))
    return f"{low}<n<{high}"


def _imported(spec: dict[str, Any]) -> bool:
    return bool(spec["problems"].get("kind") == "imported")


def _body(manifest: Manifest) -> str:
    task = _loaded_task(manifest)
    sections = [
        f"# {manifest.task}\n\n{_summary(manifest, task)}",
        f"## Splits\n\n{_splits(manifest)}",
        f"## Read it\n\n{_reading(manifest)}",
        f"## Columns\n\n{_columns(manifest)}",
        f"## How problems are sampled\n\n{_sampling(manifest, task)}",
        f"## How solutions were verified\n\n{_verification(manifest, task)}",
        f"## Make it again\n\n{_reproduction(manifest, task)}",
    ]
    return "\n\n".join(sections)


def _loaded_task(manifest: Manifest) -> Task[Any] | None:
    """The task; None if it is outside the package, and its code is not loaded."""
    try:
        return task_of_values(manifest.spec)
    except UserError:
        return None


def _summary(manifest: Manifest, task: Task[Any] | None) -> str:
    rows = sum(split.rows for split in manifest.splits.values())
    origin = "imported from files" if _imported(manifest.spec) else "a function of its specification"
    text = f"{rows:,} problems of the task `{manifest.task}` of mathpipe with their solutions. The dataset is {origin}."
    if task is None:
        return text
    return f"{text}\n\n{_table(('problem', 'solution', 'source'), [(task.problem, task.solution, task.source)])}"


def _splits(manifest: Manifest) -> str:
    rows = []
    for split, part in manifest.splits.items():
        extra = split.startswith(EXTRA_PREFIX)
        arguments = f'DIR, "{split.removeprefix(EXTRA_PREFIX)}", split="test"' if extra else f'DIR, split="{split}"'
        rejected = ", ".join(f"{reason} {n:,}" for reason, n in part.rejected.items()) or "none"
        name = f"`load_dataset({arguments})`" if part.rows else "none"
        rows.append((split, f"{part.rows:,}", f"`{split_folder(split)}/`", name, rejected))
    disjoint = (
        "The splits are those of the files."
        if _imported(manifest.spec)
        else "No problem, as written, is in both train and valid, in train and a test split, or in valid and a test split."
    )
    return f"{_table(('split', 'examples', 'folder', 'Hugging Face', 'rejected'), rows)}\n\n{disjoint}"


def _reading(manifest: Manifest) -> str:
    split = next((name for name, part in manifest.splits.items() if part.rows), "train")
    folder = split_folder(split)
    return f"""```python
import datasets, duckdb, pandas, polars, mathpipe

datasets.load_dataset("DIR")  # or "user/name" on the hub
pandas.read_parquet("DIR/{folder}")
polars.read_parquet("DIR/{folder}")
duckdb.sql("select * from 'DIR/{folder}/*.parquet'")
mathpipe.open_dataset("DIR", split="{split}")  # batches of tokens
```

Spark (`spark.read.parquet`) and Ray (`ray.data.read_parquet`) read a folder of a split, too."""


def _columns(manifest: Manifest) -> str:
    """Name, type and meaning of the columns of all splits; columns that not all splits have name their splits."""
    schemas = {split: _schema(manifest.spec_of(split)) for split, part in manifest.splits.items() if part.rows}
    names = dict.fromkeys(field.name for schema in schemas.values() for field in schema)
    rows = []
    for name in names:
        holders = [split for split, schema in schemas.items() if name in schema.names]
        column_type = re.sub(r"element: | not null", "", str(schemas[holders[0]].field(name).type))
        spec = manifest.spec_of(holders[0])
        meaning = _COLUMNS.get(name, f"a column of the task `{manifest.task}`")
        if name in ("problem", "solution"):
            meaning = _value_text(spec, name)
        rows.append(
            (name, column_type, meaning + ("" if len(holders) == len(schemas) else f" (in {', '.join(holders)})"))
        )
    return _table(("column", "type", "meaning"), rows)


def _schema(spec: dict[str, Any]) -> Any:
    """The Arrow schema of a split; without the task's own columns if the task is not loaded."""
    stored = problem_type_of(spec).example_format(spec)
    if not _imported(spec):
        with contextlib.suppress(UserError, ValidationError):
            stored = task_of_values(spec).example_format(parse_spec(spec))
    return stored.schema or stored.common_schema


def _value_text(spec: dict[str, Any], side: str) -> str:
    kind, layout = problem_type_of(spec).name, spec["problems"].get(f"{side}_layout")
    return _VALUES[kind] + (f"; layout `{layout}`" if layout else "")


def _sampling(manifest: Manifest, task: Task[Any] | None) -> str:
    spec = manifest.spec
    if _imported(spec):
        sources = [(s["split"], s["name"], f"`{s['sha256']}`") for s in spec["problems"]["sources"]]
        return (
            f"The examples are those of these files, in their order.\n\n{_table(('split', 'file', 'sha256'), sources)}"
        )
    seed = f"Seed {spec['seed']}; every example follows from the specification, the seed and its number."
    if task is None:
        return f"{seed} The task is code outside mathpipe, of digest `{spec.get('source_digest')}`."
    rows = [(f"`{name}`", f"`{value}`", meaning) for name, value, meaning in parameter_rows(task, spec)]
    text = [seed, _table(("parameter", "value", "meaning"), rows)] if rows else [seed]
    common = {name: value for name, value, _ in parameter_rows(task, spec)}
    for split in manifest.split_specs:
        rows = parameter_rows(task, manifest.spec_of(split))
        changes = [f"`{name}` is `{value}`" for name, value, _ in rows if common.get(name) != value]
        text.append(f"In {split}, {', '.join(changes) or 'the parameters are the same'}.")
    return "\n\n".join(text)


def _verification(manifest: Manifest, task: Task[Any] | None) -> str:
    paragraphs = []
    if _imported(manifest.spec):
        checked = manifest.spec["problems"].get("checked")
        paragraphs.append(
            "Every solution was verified by the task when it was imported; wrong ones were left out."
            if checked
            else "The solutions are those of the files and were not verified."
        )
    elif task is not None:
        paragraphs.append(task.stored_solutions)
    for split, part in manifest.splits.items():
        counts = ", ".join(f"{name} {n:,}" for name, n in (part.evidence or {}).items())
        outcomes = ", ".join(f"{name} {n:,}" for name, n in (part.outcomes or {}).items())
        if counts:
            paragraphs.append(f"Evidence in {split}: {counts}" + (f"; outcomes: {outcomes}." if outcomes else "."))
    paragraphs.append("`mathpipe verify DIR` compares the checksum of every file and verifies every solution again.")
    return "\n\n".join(paragraphs)


def _reproduction(manifest: Manifest, task: Task[Any] | None) -> str:
    version = manifest.provenance.get("mathpipe", "unknown")
    identity = f"Fingerprint of the specification: `{manifest.fingerprint}`. Digest of the rows: `{manifest.digest}`."
    if _imported(manifest.spec):
        return f"Import the files above with `mathpipe import --task {manifest.task}`, version {version}.\n\n{identity}"
    if task is None:
        return f"Made by mathpipe {version} with code of the task that is not part of mathpipe.\n\n{identity}"
    if manifest.spec.get("deduplicated"):
        return (
            f"Made by `mathpipe dedupe`, version {version}, from the dataset of digest `{manifest.spec['deduplicated']}`, which "
            f"has the same parameters.\n\n{identity}"
        )
    return (
        f"With mathpipe {version}:\n\n```sh\n{generate_command(task, manifest)}\n```\n\n"
        f"Equal library versions and processors give equal bytes. {identity}"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _yaml(values: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)
    return text
