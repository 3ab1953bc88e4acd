"""Terminals that cannot encode every character: every command prints, with drawings in ASCII, and ends as it would elsewhere."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mathpipe.pipeline import terminal

ENCODINGS = ("cp1252", "latin-1", "ascii")


def mathpipe(folder: Path, encoding: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "mathpipe.pipeline.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset of matrices."""
    path = tmp_path_factory.mktemp("terminal")
    result = mathpipe(path, "utf-8", "generate", "--task", "inverse", "--dim", "2", "--n", "100", "--workers", "0")
    assert result.returncode == 0, result.stderr
    return path


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_show_prints_ascii_where_the_stream_cannot_encode(folder: Path, encoding: str) -> None:
    result = mathpipe(folder, encoding, "show", "data/inverse", "-k", "2")
    assert result.returncode == 0 and b"Traceback" not in result.stderr
    text = result.stdout.decode(encoding)
    assert text.count("row") >= 2 and "?" not in text
    printed = mathpipe(folder, "utf-8", "show", "data/inverse", "-k", "2").stdout.decode()
    assert len(text.splitlines()) == len(printed.splitlines())


def written(text: str, encoding: str) -> str:
    """What a stream of this encoding receives."""
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding=encoding)
    terminal._tolerate(stream)
    stream.write(text)
    stream.flush()
    return buffer.getvalue().decode(encoding)


@pytest.fixture(autouse=True)
def register() -> None:
    terminal.codecs.register_error(terminal._HANDLER, terminal.replace_unencodable)
    terminal.codecs.register(terminal._find_codec)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_characters_become_similar_ones(encoding: str) -> None:
    assert written("│ 1 │", encoding) == "| 1 |"
    assert written("⎡x⎤", encoding) == "+x+"
    assert written("a ≤ b → c", encoding) == "a <= b -> c"
    assert written("\N{CJK UNIFIED IDEOGRAPH-6F22}", encoding) == "?"


def test_what_the_stream_can_encode_stays() -> None:
    assert written("± é │", "latin-1") == "± é |"
    assert written("± é", "ascii") == "+- e"
    assert written("│ ⎡", "utf-8") == "│ ⎡"


def test_click_writes_ascii_to_an_ascii_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="ascii"))
    terminal.tolerate_encodings()
    click.echo("│ ≥ │")
    sys.stdout.flush()
    assert buffer.getvalue() == b"| >= |\n"
