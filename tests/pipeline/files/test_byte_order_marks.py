"""A byte-order mark, as editors on Windows write it, changes nothing in any file that a user edits or imports."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.io.storage import Storage
from mathpipe.pipeline.config.parameter_files import read_sections

Run = Callable[..., str]
MARK = b"\xef\xbb\xbf"
TEXTS = {
    "text": b"[[1, 2]]\t[[1], [2]]\n[[3, 4]]\t[[3], [4]]\n",
    "jsonl": b'{"problem": [[1, 2]], "solution": [[1], [2]]}\n{"problem": [[3, 4]], "solution": [[3], [4]]}\n',
    "csv": b'problem,solution\n"[[1, 2]]","[[1], [2]]"\n"[[3, 4]]","[[3], [4]]"\n',
}


def tar(content: bytes) -> bytes:
    buffer, info = io.BytesIO(), tarfile.TarInfo("pairs.test")
    info.size = len(content)
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
    ".tar.gz": tar,
}


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("form", TEXTS)
def test_first_line_of_an_import_counts(run: Run, tmp_path: Path, form: str, packing: str) -> None:
    file = tmp_path / f"pairs{packing}"
    file.write_bytes(PACKED[packing](MARK + TEXTS[form]))
    line = ("import", "--task", "transpose", "--format", form, "--test", file, "--out", tmp_path / "data", "--json")
    assert json.loads(run(*line))["bad"] == 0
    assert len(open_dataset(tmp_path / "data", "test")) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_other_encodings_are_named(run: Run, tmp_path: Path, encoding: str) -> None:
    text = TEXTS["text"].decode()
    (tmp_path / "a.txt").write_bytes(("\ufeff" * (encoding == "utf-16-be") + text).encode(encoding))
    error = run("import", "--task", "transpose", "--test", tmp_path / "a.txt", "--out", tmp_path / "data", code=2)
    assert "a.txt is not UTF-8" in error and "iconv" in error and not (tmp_path / "data" / "test").exists()


def test_answers_to_score(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(MARK + b'{"problem": [[1, 2]], "answer": [[1], [2]]}\n')
    summary = json.loads(
        run("score", "--task", "transpose", tmp_path / "a.jsonl", "--out", tmp_path / "results.jsonl", "--json")
    )
    assert (summary["answers"], summary["correct"]) == (1, 1)


def test_parameter_file(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(MARK + b"train:\n  steps: 5\n")
    assert read_sections(tmp_path / "params.yaml")["train"] == {"steps": "5"}  # read by its field


def test_files_of_datasets_and_runs(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    run("eval", "--limit", 5)
    names = ["data/add/manifest.json", "data/add/__records/test/00000.json", "runs/add/run.json"]
    names += [f"runs/add/evaluation/test.first-5/{name}" for name in ("metrics.json", "evaluation.json")]
    for name in names:
        path = project / name
        path.write_bytes(MARK + path.read_bytes())
    assert Storage(str(project / "data/add")).read_text("manifest.json")[0] == "{"  # type: ignore[index]
    assert "nothing left" in run(*_generate(), "--out", "data/add")
    run("eval", "--limit", 5)
    run("report", "runs/add", "runs/add/evaluation/test.first-5", "--out", "page.html")


def _generate() -> tuple[object, ...]:
    return ("generate", "--task", "add", "--dim", 2, "--n", 200, "--valid", 50, "--test", 50, "--workers", 0)


def test_task_of_the_user(run: Run, tmp_path: Path) -> None:
    source = b"def example(rng, spec):\n    a = int(rng.integers(1, 100))\n    return a, a + 1\n"
    (tmp_path / "plus.py").write_bytes(MARK + source)
    line = ("generate", "--task", tmp_path / "plus.py", "--n", 20, "--valid", 5, "--test", 5, "--workers", 0)
    run(*line, "--out", tmp_path / "data")
