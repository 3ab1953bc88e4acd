"""The page on notations is right: its Python block and its command run as printed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mathpipe.pipeline.cli import main

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "notations.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_python_block_prints_what_its_comments_show() -> None:
    (code,) = [text for language, text in BLOCKS if language == "python"]
    first = "ids_to_text(write(parse_infix"
    check = f"{code}\nprint({next(line for line in code.splitlines() if line.startswith(first)).split('  #')[0]})"
    printed = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True).stdout.strip()
    assert f"# {printed}" in code


def test_the_command_imports_its_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (command,) = [text for language, text in BLOCKS if not language]
    (line,) = re.findall(r'`(\{"integrand".*?\})`', PAGE.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    Path("sheet.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        main(shlex.split(command.replace("\\\n", " "))[1:])
    assert not stop.value.code
    assert "test 1 examples; 0 lines rejected" in capsys.readouterr().out
