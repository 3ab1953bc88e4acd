"""Making a dataset: the same bytes whatever the workers, kills and resumptions; a directory's contents are never lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.problem_specs.sequence_spec import BitSpec
from mathpipe.generate.tasks.task_registry import get_task

SPEC = DatasetSpec(task="inverse", problems=MatrixSpec(min_dim=3, max_dim=3), chunk_rows=1_000)
LAYOUT = Layout({"train": 12_500, "valid": 1_000, "test": 500}, 3_000)


def contents(url: Path) -> dict[str, bytes]:
    return {str(p.relative_to(url)): p.read_bytes() for p in sorted(url.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of the dataset built in this process, without interruption."""
    url = tmp_path_factory.mktemp("whole") / "d"
    result = make_dataset(SPEC, LAYOUT, str(url), workers=0)
    assert result.built_rows == 14_000
    return contents(url)


def test_manifest_and_records_describe_the_shards(whole: dict[str, bytes]) -> None:
    manifest = json.loads(whole["manifest.json"])
    assert manifest["fingerprint"] == SPEC.fingerprint
    assert {name: s["rows"] for name, s in manifest["splits"].items()} == LAYOUT.splits
    for split in manifest["splits"].values():
        assert split["bytes"] == sum(r["bytes"] for r in split["shards"])
        for record in split["shards"]:
            name = f"{record['split']}/{record['shard']:05d}"
            assert json.loads(whole[f"__records/{record['split']}/{record['shard']:05d}.json"]) == record
            assert len(whole[f"{name}.parquet"]) == record["bytes"]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_write_the_same_bytes(whole: dict[str, bytes], tmp_path: Path, workers: int) -> None:
    make_dataset(SPEC, LAYOUT, str(tmp_path / "d"), workers=workers)
    assert contents(tmp_path / "d") == whole


def test_complete_dataset_is_unchanged(tmp_path: Path) -> None:
    make_dataset(SPEC, LAYOUT, str(tmp_path / "d"), workers=0)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "d").rglob("*")}
    again = make_dataset(SPEC, LAYOUT, str(tmp_path / "d"), workers=0)
    assert again.built_rows == 0
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "d").rglob("*")} == before


SCRIPT = """
import json
import sys
from mathpipe.generate.tasks.task_registry import parse_spec
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.layout import Layout
if __name__ == "__main__":
    spec = parse_spec(json.loads(sys.argv[1]))
    layout = Layout({"train": 12_500, "valid": 1_000, "test": 500}, 3_000)
    make_dataset(spec, layout, sys.argv[2], workers=int(sys.argv[3]), on_shard=lambda r, b: print(r.file, flush=True))
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_runs_resume_to_the_same_bytes(whole: dict[str, bytes], tmp_path: Path, workers: int) -> None:
    """kill -9 of the whole process group again and again; then one run to the end."""
    script = tmp_path / "make.py"
    script.write_text(SCRIPT)
    url = tmp_path / "d"
    command = [sys.executable, str(script), SPEC.to_json(), str(url), str(workers)]
    dice = random.Random(workers)
    for _ in range(4):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        assert process.stdout is not None
        process.stdout.readline()  # at least one shard was found or built: it is at work
        time.sleep(dice.uniform(0, 0.05))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert contents(url) == whole


def test_partial_and_damaged_shards_are_rebuilt(whole: dict[str, bytes], tmp_path: Path) -> None:
    url = tmp_path / "d"
    make_dataset(SPEC, LAYOUT, str(url), workers=0)
    (url / "manifest.json").unlink()
    (url / "train" / ".00009.parquet.writing-00000000").write_bytes(b"half")
    (url / "train" / "00001.parquet").write_bytes(whole["train/00001.parquet"][:1000])
    (url / "__records/train/00002.json").write_text("{ not json")
    (url / "valid" / "00000.parquet").unlink()
    result = make_dataset(SPEC, LAYOUT, str(url), workers=0)
    assert result.built_rows == 3_000 + 3_000 + 1_000
    assert contents(url) == whole


def test_record_of_another_spec_is_a_mismatch(tmp_path: Path) -> None:
    url = tmp_path / "d"
    other = SPEC.model_copy(update={"seed": 1})
    make_dataset(other, LAYOUT, str(url), workers=0)
    before = contents(url)
    with pytest.raises(UserError, match=r"holds another dataset.*seed 0.*seed 1.*restart"):
        make_dataset(SPEC, LAYOUT, str(url), workers=0)
    (url / "manifest.json").unlink()
    with pytest.raises(UserError, match="shards of another dataset"):
        make_dataset(SPEC, LAYOUT, str(url), workers=0)
    del before["manifest.json"]
    assert contents(url) == before
    result = make_dataset(SPEC, LAYOUT, str(url), workers=0, on_mismatch="restart")
    assert result.backup == str(tmp_path / "d.old-1")
    assert contents(tmp_path / "d.old-1") == before
    assert read_manifest(str(url)).fingerprint == SPEC.fingerprint


def test_existing_rows_are_never_dropped(whole: dict[str, bytes], tmp_path: Path) -> None:
    url = tmp_path / "d"
    make_dataset(SPEC, LAYOUT, str(url), workers=0)
    with pytest.raises(UserError, match=rf"holds more rows of train than asked for.*--n {LAYOUT.splits['train']}\)"):
        make_dataset(SPEC, Layout({"train": 1_000, "valid": 1_000, "test": 500}, 3_000), str(url), workers=0)
    assert contents(url) == whole


def test_another_shard_size_leaves_no_stale_shards(tmp_path: Path) -> None:
    url = tmp_path / "d"
    make_dataset(SPEC, LAYOUT, str(url), workers=0)
    make_dataset(SPEC, Layout(LAYOUT.splits, 13_000), str(url), workers=0)
    assert sorted(p.name for p in (url / "train").iterdir()) == ["00000.parquet"]


@pytest.mark.parametrize(("requested", "rows"), [(1, 1_000), (1_499, 1_000), (2_600, 3_000), (10**9, 10**9)])
def test_shards_hold_whole_chunks(tmp_path: Path, requested: int, rows: int) -> None:
    """Any number of rows per shard is rounded to whole chunks, in every split."""
    result = make_dataset(
        SPEC, Layout({"train": 5_500, "test": 300}, requested, {"test": 7}), tmp_path / "d", workers=0
    )
    sizes = [record.rows for record in result.manifest.splits["train"].shards]
    assert sizes == [min(rows, 5_500 - first) for first in range(0, 5_500, rows)]
    assert [record.rows for record in result.manifest.splits["test"].shards] == [300]
    assert not verify_dataset(tmp_path / "d").damage


@pytest.mark.parametrize(
    ("splits", "shard_rows", "message"),
    [
        ({}, 10, "no split"),
        ({"train": -5}, 10, "number of rows of train is out of range. Expected: 0 to .* Got: -5"),
        ({"train": 5.5}, 10, "rows of train is no integer.* Got: 5.5"),
        ({"train": True}, 10, "no integer.* Got: True"),
        ({"train": 10**13}, 10, "out of range"),
        ({"train": 5}, 0, "rows per shard is out of range. Expected: 1 to"),
    ],
)
def test_invalid_layouts_are_refused(splits: dict[str, Any], shard_rows: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Layout(splits, shard_rows)


def test_layouts_take_integers_of_numpy() -> None:
    layout = Layout({"train": np.int64(5)}, np.int32(10))  # type: ignore[dict-item, arg-type]
    assert layout == Layout({"train": 5}, 10) and type(layout.splits["train"]) is type(layout.shard_rows) is int


def test_spec_of_a_split_that_the_layout_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no split test-far.*Expected: specs of train, valid, test"):
        make_dataset(SPEC, LAYOUT, tmp_path / "d", split_specs={"test-far": SPEC})


def test_problems_of_another_task_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Expected: MatrixSpec. Got: BitSpec. Next: mathpipe.get_task\('inverse'\)"):
        make_dataset(SPEC.model_copy(update={"problems": BitSpec()}), LAYOUT, tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_directory_with_unrelated_files_raises(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds other files.*thesis.tex"):
        make_dataset(SPEC, LAYOUT, str(tmp_path), workers=0)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_unreadable_manifest_raises(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        make_dataset(SPEC, LAYOUT, str(tmp_path), workers=0)


def test_failing_shard_raises_and_leaves_no_partial_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = get_task(SPEC.task)
    build = task.build_chunk

    def fail(spec: DatasetSpec, chunk: int, splits: list[str]) -> object:
        if (splits, chunk) == (["train"], 4):
            raise RuntimeError("a fault in chunk 4")
        return build(spec, chunk, splits)

    monkeypatch.setattr(task, "build_chunk", fail)
    with pytest.raises(RuntimeError, match="chunk 4"):
        make_dataset(SPEC, LAYOUT, str(tmp_path / "d"), workers=0)
    assert sorted(contents(tmp_path / "d")) == ["__records/train/00000.json", "train/00000.parquet"]


def test_timings_are_logged_beside_the_dataset(tmp_path: Path) -> None:
    make_dataset(SPEC, LAYOUT, str(tmp_path / "d"), workers=0)
    lines = [json.loads(line) for line in (tmp_path / "d.log.jsonl").read_text().splitlines()]
    assert sum(line["rows"] for line in lines) == 14_000
    assert all(line["cpu_seconds"] > 0 for line in lines)


def test_pandas_reads_a_dataset(tmp_path: Path) -> None:
    """The columns that are promised, read by pyarrow alone, footer included."""
    import pyarrow.parquet as pq

    make_dataset(SPEC, LAYOUT, str(tmp_path / "d"), workers=0)
    table = pq.read_table(tmp_path / "d" / "train" / "00000.parquet")
    assert {f.name: str(f.type) for f in table.schema} == {
        "row": "int64",
        "problem": "list<element: float not null>",
        "problem_rows": "int16",
        "problem_cols": "int16",
        "solution": "list<element: float not null>",
        "solution_rows": "int16",
        "solution_cols": "int16",
    }
    metadata = pq.read_metadata(tmp_path / "d" / "train" / "00000.parquet")
    assert json.loads(metadata.metadata[b"mathpipe.spec"]) == SPEC.model_dump(mode="json")
    assert metadata.num_row_groups == 3
    assert {metadata.row_group(0).column(k).compression for k in range(metadata.num_columns)} == {"ZSTD"}
