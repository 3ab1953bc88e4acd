"""Datasets and runs whose files are links, as in DVC's cache: recognised as complete, and never written through."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mathpipe.datasets.io.atomic_directories import new_directory
from mathpipe.datasets.io.storage import Storage

Run = Callable[..., str]
Link = Callable[[Path, Path], None]


def generate(rows: int) -> tuple[object, ...]:
    return ("generate", "--task", "add", "--dim", 2, "--n", rows, "--valid", 50, "--test", 50, "--workers", 0)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".log.jsonl"))
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def identities(folder: Path) -> dict[str, tuple[int, bool]]:
    """Inode, and whether it is a symbolic link, of each file."""
    files = sorted(p for p in folder.rglob("*") if not p.is_dir() and not p.name.endswith(".log.jsonl"))
    return {p.relative_to(folder).as_posix(): (p.lstat().st_ino, p.is_symlink()) for p in files}


def move_to_cache(folder: Path, cache: Path, link: Link) -> None:
    """Move the files of a folder to a read-only cache, and put links in their places."""
    for k, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        cached = cache / f"{k:04d}"
        cache.mkdir(exist_ok=True)
        shutil.move(path, cached)
        cached.chmod(0o444)
        link(cached, path)


LINKS: dict[str, Link] = {
    "symlink": lambda cached, path: path.symlink_to(cached),
    "relative symlink": lambda cached, path: path.symlink_to(os.path.relpath(cached, path.parent)),
    "chain of symlinks": lambda cached, path: (
        cached.with_suffix(".link").symlink_to(cached),
        path.symlink_to(cached.with_suffix(".link")),
    )[-1],
    "hardlink": lambda cached, path: path.hardlink_to(cached),
    "copy": lambda cached, path: shutil.copyfile(cached, path) and None,
}


@pytest.mark.parametrize("kind", LINKS)
def test_linked_dataset_is_complete(run: Run, project: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    move_to_cache(project / "data", project / "cache", LINKS[kind])
    before, cached = identities(project / "data"), digests(project / "cache")
    assert "nothing left to build" in run(*generate(200), "--out", "data/add")
    assert "complete and correct" in run("verify", "data/add", "--workers", 0)
    run("eval", "--run", "runs/add", "--limit", 5)
    assert identities(project / "data") == before
    assert digests(project / "cache") == cached


@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_linked_dataset_grows_without_touching_the_cache(
    run: Run, project: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    move_to_cache(project / "data", project / "cache", LINKS[kind])
    before, cached = identities(project / "data"), digests(project / "cache")
    assert "100 were there before" in run(*generate(300), "--out", "data/add")  # valid and test
    after = identities(project / "data")
    assert {name for name in before if after[name] != before[name]} == {
        *("add/manifest.json", "add/README.md", "add/train/00000.parquet", "add/__records/train/00000.json"),
    }
    assert digests(project / "cache") == cached


def test_missing_cache_is_built_again(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken links count as missing files."""
    monkeypatch.chdir(project)
    expected = digests(project / "data")
    move_to_cache(project / "data/add/test", project / "cache", LINKS["symlink"])
    shutil.rmtree(project / "cache")
    assert "250 were there before" in run(*generate(200), "--out", "data/add")
    assert digests(project / "data") == {name: expected[name] for name in digests(project / "data")}
    assert "add/test/00000.parquet" in digests(project / "data")


def test_linked_run_is_resumed_evaluated_and_exported(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    run("eval", "--run", "runs/add", "--limit", 5, "--verbose")
    move_to_cache(project / "runs", project / "cache", LINKS["symlink"])
    cached = digests(project / "cache")
    run("eval", "--run", "runs/add", "--limit", 5)  # replaces the links of the results by files
    run("report", "runs/add")
    run("export-model", "runs/add", "--out", "models/add")
    assert digests(project / "cache") == cached


def test_linked_directories(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory of the dataset, or of a split, is a link to another disk."""
    monkeypatch.chdir(project)
    shutil.move(project / "data/add/train", project / "disk")
    (project / "data/add/train").symlink_to(project / "disk")
    (project / "link").symlink_to(project / "data/add")
    assert "nothing left to build" in run(*generate(200), "--out", "link")
    assert "complete and correct" in run("verify", "link", "--workers", 0)
    line = ("import", "--task", "add", "--dataset", "link", "--out", "imported", "--quiet")
    assert "train 200" in run(*line)


def test_model_is_written_where_an_empty_link_leads(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "models").symlink_to(tmp_path / "disk")
    with new_directory(tmp_path / "models") as temporary:
        (temporary / "a").write_text("1")
    assert (tmp_path / "models").is_symlink() and (tmp_path / "disk" / "a").read_text() == "1"


def test_sizes_follow_links(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "broken").symlink_to(tmp_path / "b")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "folder").mkdir()
    storage = Storage(str(tmp_path))
    assert storage.sizes("") == {"a": 3, "link": 3}
    assert [storage.size(name) for name in ("a", "link", "broken", "folder")] == [3, 3, None, None]
    assert storage.sizes("a") == {} == storage.sizes("nothing")


@pytest.mark.slow
@pytest.mark.parametrize("cache_type", ["symlink", "hardlink", "copy", "reflink"])
def test_cache_types_of_dvc(run: Run, project: Path, cache_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)

    def dvc(*line: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
        command = [sys.executable, "-m", "dvc", *line]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert dvc("init", "--no-scm", "--quiet").returncode == 0
    assert dvc("config", "cache.type", cache_type).returncode == 0
    added = dvc("add", "--quiet", "data/add")
    if added.returncode and cache_type == "reflink":
        pytest.skip("the disk has no reflinks")
    assert added.returncode == 0, added.stderr
    linked = dvc("checkout", "--relink", "data/add.dvc")
    if linked.returncode and cache_type == "reflink":
        pytest.skip("the disk has no reflinks")
    assert linked.returncode == 0, linked.stderr
    shard = project / "data/add/train/00000.parquet"
    assert shard.is_symlink() == (cache_type == "symlink")
    assert (shard.stat().st_nlink > 1) == (cache_type == "hardlink")
    before, cached = identities(project / "data"), digests(project / ".dvc" / "cache")
    assert "nothing left to build" in run(*generate(200), "--out", "data/add")
    assert "complete and correct" in run("verify", "data/add", "--workers", 0)
    run("eval", "--run", "runs/add", "--limit", 5)
    assert identities(project / "data") == before
    assert "100 were there before" in run(*generate(300), "--out", "data/add")
    after = digests(project / ".dvc" / "cache")
    assert {name: after[name] for name in cached} == cached
