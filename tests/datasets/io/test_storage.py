"""Files appear whole or not at all, and the file system's refusals are told as errors a person can use."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.storage import HashingFile, Storage, set_aside


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    with pytest.raises(RuntimeError), storage.write("train/a.bin") as file:
        file.write(b"half")
        assert storage.size("train/a.bin") is None
        raise RuntimeError
    assert storage.list("train") == []
    storage.write_text("train/a.bin", "old")
    with pytest.raises(RuntimeError), storage.write("train/a.bin") as file:
        file.write(b"half of the new")
        raise RuntimeError
    assert storage.read_text("train/a.bin") == "old"


@pytest.mark.parametrize("url", ["{tmp}/d", "memory://storage-test"])
def test_the_same_calls_on_a_disk_and_on_an_object_store(url: str, tmp_path: Path) -> None:
    storage = Storage(url.format(tmp=tmp_path))
    assert storage.list() == [] and storage.read_text("x") is None and storage.size("x") is None
    with storage.write("train/00000.parquet") as file:
        hashing = HashingFile(file)
        hashing.write(b"some")
        hashing.write(memoryview(b" bytes"))
    assert (hashing.sha256, hashing.bytes) == (hashlib.sha256(b"some bytes").hexdigest(), 10)
    assert storage.checksum("train/00000.parquet") == hashing.sha256
    assert storage.size("train/00000.parquet") == 10 and storage.size("train") is None
    storage.write_text("manifest.json", "{}")
    assert storage.list() == ["manifest.json", "train"]
    storage.remove("manifest.json")
    storage.remove("manifest.json")
    assert storage.list() == ["train"]
    aside = set_aside(storage.url)
    assert aside.endswith(".old-1") and storage.list() == []


def test_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write_text("train/00000.json", "{}")
    (tmp_path / "train" / ".00001.parquet.writing-1234abcd").write_bytes(b"half")
    storage.remove_unfinished("train")
    assert storage.list("train") == ["00000.json"]


def test_moved_aside_twice_nothing_is_lost(tmp_path: Path) -> None:
    for k in (1, 2):
        Storage(str(tmp_path / "d")).write_text("x", str(k))
        assert set_aside(str(tmp_path / "d")) == str(tmp_path / f"d.old-{k}")
    assert [(tmp_path / f"d.old-{k}" / "x").read_text() for k in (1, 2)] == ["1", "2"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "written"),
    ],
)
def test_refusals_of_the_file_system(tmp_path: Path, number: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    storage = Storage(str(tmp_path))
    with pytest.raises(UserError, match=words):
        storage.write_text("x", "y")
    assert storage.list() == []


def test_a_file_where_a_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("a file")
    with pytest.raises(UserError, match="file stands where a directory should be"):
        Storage(str(tmp_path)).write_text("train/00000.json", "{}")


def test_unknown_protocols_are_named() -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        Storage("nosuch://bucket/x").list()
