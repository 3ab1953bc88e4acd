"""Writes are atomic, and errors of the file system become UserErrors with a cause."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.storage import HashingFile, Storage, move_to_backup


def test_writes_are_atomic(tmp_path: Path) -> None:
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
def test_local_and_object_storage_behave_alike(url: str, tmp_path: Path) -> None:
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
    backup = move_to_backup(storage.url)
    assert backup.endswith(".old-1") and storage.list() == []


def test_remove_unfinished_files(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write_text("train/00000.json", "{}")
    (tmp_path / "train" / ".00001.parquet.writing-1234abcd").write_bytes(b"half")
    storage.remove_unfinished("train")
    assert storage.list("train") == ["00000.json"]


def test_repeated_backups_are_numbered(tmp_path: Path) -> None:
    for k in (1, 2):
        Storage(str(tmp_path / "d")).write_text("x", str(k))
        assert move_to_backup(str(tmp_path / "d")) == str(tmp_path / f"d.old-{k}")
    assert [(tmp_path / f"d.old-{k}" / "x").read_text() for k in (1, 2)] == ["1", "2"]


@pytest.mark.parametrize(
    ("error_number", "message"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "written"),
    ],
)
def test_write_errors_name_the_cause(
    tmp_path: Path, error_number: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(error_number, os.strerror(error_number))

    monkeypatch.setattr(os, "fsync", fail)
    storage = Storage(str(tmp_path))
    with pytest.raises(UserError, match=message):
        storage.write_text("x", "y")
    assert storage.list() == []


def test_file_in_place_of_a_directory_raises(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("a file")
    with pytest.raises(UserError, match="file exists where a directory should be"):
        Storage(str(tmp_path)).write_text("train/00000.json", "{}")


def test_unknown_protocol_raises() -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        Storage("nosuch://bucket/x").list()
