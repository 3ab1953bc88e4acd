"""Commands that write directories or files never replace or delete what mathpipe did not write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.foreign_files import is_foreign
from mathpipe.datasets.io.storage import Storage
from mathpipe.pipeline.commands.report import _refuse_to_replace
from mathpipe.pipeline.published.results_page import page_path, page_text, write_page

Run = Callable[..., str]
GENERATE = ("generate", "--task", "add", "--dim", 2, "--n", 200, "--valid", 50, "--test", 50, "--quiet", "--workers", 0)


@pytest.fixture
def own_table(tmp_path: Path) -> Path:
    """A dataset of the user, named as mathpipe and Hugging Face name theirs."""
    file = tmp_path / "own" / "train" / "00000.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.table({"text": ["own text"]}), file)
    return file


def test_generate_refuses_a_shard_that_is_not_its_own(run: Run, own_table: Path) -> None:
    before = own_table.read_bytes()
    error = run(*GENERATE, "--out", own_table.parents[1], code=2)
    assert "holds other files" in error and "train/00000.parquet" in error
    assert own_table.read_bytes() == before and not (own_table.parents[1] / "test").exists()


def test_import_refuses_a_shard_that_is_not_its_own(run: Run, own_table: Path, tmp_path: Path) -> None:
    before = own_table.read_bytes()
    (tmp_path / "a.txt").write_text("1\t1\n")
    line = ("import", "--task", "none", "--type", "sequences", "--train", tmp_path / "a.txt", "--format", "text")
    assert "train/00000.parquet" in run(*line, "--out", own_table.parents[1], code=2)
    assert own_table.read_bytes() == before


def test_dedupe_refuses_a_shard_that_is_not_its_own(run: Run, own_table: Path, tmp_path: Path) -> None:
    before = own_table.read_bytes()
    run(*GENERATE, "--out", tmp_path / "data")
    assert "train/00000.parquet" in run("dedupe", tmp_path / "data", own_table.parents[1], "--workers", 0, code=2)
    assert own_table.read_bytes() == before


def test_unfinished_dataset_with_other_shards_is_refused(run: Run, tmp_path: Path) -> None:
    """A shard of ours without its record is built again; one of the user is not replaced."""
    out = tmp_path / "data"
    run(*GENERATE, "--out", out)
    (out / "manifest.json").unlink()
    shard, record = out / "train" / "00000.parquet", out / "__records" / "train" / "00000.json"
    record.unlink()
    content = shard.read_bytes()
    run(*GENERATE, "--out", out)
    assert shard.read_bytes() == content and record.exists()
    (out / "manifest.json").unlink()
    record.unlink()
    pq.write_table(pa.table({"text": ["own text"]}), shard)
    assert "holds other files" in run(*GENERATE, "--out", out, code=2)


def test_split_directories_of_other_files_are_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "images" / "train").mkdir(parents=True)
    (tmp_path / "images" / "train" / "cat.png").write_bytes(b"png")
    assert "train/cat.png" in run(*GENERATE, "--out", tmp_path / "images", code=2)
    assert [p.name for p in (tmp_path / "images").iterdir()] == ["train"]


def test_notes_in_a_dataset_stay_when_it_grows(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "data"
    run(*GENERATE, "--out", out)
    (out / "train" / "notes.md").write_text("own text")
    run(*("300" if argument == 200 else argument for argument in GENERATE), "--out", out)
    assert (out / "train" / "notes.md").read_text() == "own text"


def test_directory_of_marks_is_empty(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "data"
    out.mkdir()
    (out / ".DS_Store").write_bytes(b"\0")
    run(*GENERATE, "--out", out)
    assert (out / ".DS_Store").exists() and (out / "manifest.json").exists()


def test_report_does_not_replace_the_file_beside_its_page(tmp_path: Path) -> None:
    beside, storage = tmp_path / "table.json", Storage(str(tmp_path))
    _refuse_to_replace(storage, beside.name)
    for text in ('{"f1": 0.9}', "[]", "x"):
        beside.write_text(text)
        with pytest.raises(UserError, match=r"table.json would be replaced.*--out"):
            _refuse_to_replace(storage, beside.name)
    beside.write_text(json.dumps({"evaluations": {}, "train_by_test": None}))
    _refuse_to_replace(storage, beside.name)


def test_replicate_does_not_replace_the_page_of_the_user(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "thesis.md"
    page.write_text("# My thesis\n")
    line = ("replicate", "lawt-tasks", "--row", "add", "--results", tmp_path / "thesis", "--dry-run", "--no-dvc")
    assert "thesis.md would be replaced" in run(*line, code=2)
    assert page.read_text() == "# My thesis\n"
    assert write_page(tmp_path / "results") == page_path(tmp_path / "results")  # ours is written again
    assert page_text(tmp_path / "results")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(
            (name, True)
            for name in (".DS_Store", "Thumbs.db", "desktop.ini", "_SUCCESS", "._00000.parquet", ".gitignore")
        ),
        *((name, True) for name in (".00000.parquet.crc", ".nfs0001", "__MACOSX", "_metadata", "Icon\r")),
        *((name, False) for name in ("00000.parquet", "_00000.json", "notes.md", "train", "manifest.json", "x.crc")),
    ],
)
def test_foreign_names(name: str, expected: bool) -> None:
    assert is_foreign(name) == expected
