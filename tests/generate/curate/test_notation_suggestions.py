"""Files that are examples in another notation than the one asked for: the error names the options that read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.generate.curate.dataset_import import import_dataset
from mathpipe.generate.dataset_spec import SourceFormat

LISTS = SourceFormat(notation="lists")
P10 = SourceFormat(notation="tokens", encodings=("P10", "P10"))


def read(tmp_path: Path, task: str, line: tuple[str, str], source: SourceFormat) -> Any:
    (tmp_path / "examples.txt").write_text("\t".join(line) + "\n")
    return import_dataset(task, {"train": [str(tmp_path / "examples.txt")]}, str(tmp_path / "out"), source=source)


@pytest.mark.parametrize(
    ("task", "line", "source", "options"),
    [
        (
            "inverse",
            ("V1 V1 + 2 0 0 E-2", "V1 V1 + 5 0 0 E-3"),
            LISTS,
            "tokens --input-encoding P10 --output-encoding P10",
        ),
        (
            "inverse",
            ("V1 V1 FP200/-2", "V1 V1 N500 E-3"),
            LISTS,
            "tokens --input-encoding FP15 --output-encoding B1999",
        ),
        (
            "inverse",
            ("V1 V1 + 200 E-2", "V1 V1 + 500 E-3"),
            P10,
            "tokens --input-encoding P1000 --output-encoding P1000",
        ),
        ("inverse", ("[[2]]", "[[0.5]]"), P10, "lists"),
        ("integration-bwd", ("2*x", "x^2"), SourceFormat(notation="tokens"), "infix"),
        ("integration-bwd", (r"\frac{1}{x}", r"\ln x"), SourceFormat(notation="infix"), "latex"),
        ("gcd", ("[12, 18]", "6"), SourceFormat(notation="tokens", encodings=("base10", "base10")), "lists"),
    ],
)
def test_error_names_the_notation(
    tmp_path: Path, task: str, line: tuple[str, str], source: SourceFormat, options: str
) -> None:
    with pytest.raises(UserError, match=rf"the first lines are examples with --notation {re.escape(options)}\.$"):
        read(tmp_path, task, line, source)
    _, notation, *encodings = (
        f"--notation {options}".replace("--input-encoding ", "").replace("--output-encoding ", "").split()
    )
    changed = SourceFormat.model_validate({"notation": notation, "encodings": encodings or None})
    assert read(tmp_path, task, line, changed).manifest.splits  # what the error says is true


@pytest.mark.parametrize("line", [("no", "matrix"), ("[[2]]", "[[3]]"), ("V1 V1 + 200 E-2", "V1 V1 + 700 E-3")])
def test_files_that_nothing_reads_get_no_suggestion(tmp_path: Path, line: tuple[str, str]) -> None:
    """Text that is no matrix, and answers that are wrong in every notation."""
    with pytest.raises(UserError, match="name the task and the notation of the files"):
        read(tmp_path, "inverse", line, LISTS)


@pytest.mark.parametrize("task", ["inverse", "integration-bwd", "xor", "gcd"])
def test_empty_files_get_no_suggestion(tmp_path: Path, task: str) -> None:
    (tmp_path / "empty.txt").touch()
    with pytest.raises(UserError, match=r"Got: empty files.*name the task and the notation of the files"):
        import_dataset(task, {"train": [str(tmp_path / "empty.txt")]}, str(tmp_path / "out"))
