"""Files of every format and type: malformed lines are counted, tables and directories read, kills leave no half dataset."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.table_files import find_splits
from mathpipe.generate.curate.dataset_import import ImportResult, import_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import SourceFormat
from mathpipe.generate.splits import VALID, in_split, problem_hash, sequence_hash
from mathpipe.pipeline.cli import main

LISTS = SourceFormat(format="jsonl", notation="lists")
GOOD = {
    "transpose": '{"problem": [[1, 2.5], ["1/3", 4]], "solution": "[[1, 1/3], [2.5, 4]]"}',
    "gcd": '{"problem": [48, 36], "solution": 12}',
    "xor": '{"problem": ["0", "1", 1, 1], "solution": "[1, 0]"}',
}
MALFORMED: dict[str, list[tuple[str, str, str]]] = {  # task -> (line, kind, what is named)
    "transpose": [
        ("[1, 2", "not valid JSON", "character 6"),
        ("7", "not a JSON object", "expected a JSON object with problem, solution"),
        ('{"problem": [[1]]}', "missing column", "no column 'solution', but 'problem'"),
        ('{"problem": [[1]], "solution": null}', "no value", "column 'solution' is null"),
        ('{"problem": [[1, 2], [3]], "solution": [[1]]}', "malformed problem", "row 2 has 1 entries"),
        ('{"problem": [[1]], "solution": [["1/0"]]}', "malformed solution", "not a finite double"),
        ('{"problem": [[NaN]], "solution": [[1]]}', "malformed problem", "not a number"),
        ('{"problem": {"a": 1}, "solution": [[1]]}', "malformed problem", "no matrix"),
        ('{"problem": [["2],[3"]], "solution": [[1]]}', "malformed problem", "no matrix"),
        ('{"problem": [[1e12]], "solution": [[1e12]]}', "out of range", "below 1e+09"),
        ('{"problem": [], "solution": [[1]]}', "malformed problem", "Expected"),
        (json.dumps({"problem": [[1.0] * 101], "solution": [[1]]}), "wrong shape", "got 1 x 101"),
        (
            '{"problem": [[1, 2]], "solution": [[1, 2]]}',
            "solution not correct (wrong_shape)",
            "not correct (wrong_shape)",
        ),
        (
            '{"problem": [[1, 2]], "solution": [[1], [3]]}',
            "solution not correct (wrong_value)",
            "not correct (wrong_value)",
        ),
    ],
    "gcd": [
        ("", "", ""),  # an empty line is none
        ('{"problem": [48, 36, 2], "solution": 2}', "malformed problem", "expected (int, int)"),
        ('{"problem": [48, 3.5], "solution": 2}', "malformed problem", "expected an integer, got 3.5"),
        ('{"problem": [48, 99999999999999999999], "solution": 2}', "malformed problem", "more than 63 bits"),
        ('{"problem": "forty-eight", "solution": 2}', "malformed problem", "expected integers such as"),
        ('{"problem": [48, 36], "solution": [12]}', "malformed solution", "expected int"),
        ('{"problem": [48, 36], "solution": true}', "malformed solution", "expected an integer, got True"),
        ('{"problem": [48, 36], "solution": 6}', "solution not correct (wrong_value)", "not correct"),
    ],
    "xor": [
        ('{"problem": [0, 1, 2, 1], "solution": [1]}', "malformed problem", "alphabet 0 1 ?, got '2'"),
        ('{"problem": [0, [1]], "solution": [1]}', "malformed problem", "expected a list of tokens, got list"),
        ('{"problem": [], "solution": [1]}', "malformed problem", "no tokens"),
        ('{"problem": "1", "solution": [1]}', "malformed problem", "expected a list, got int"),
        ('{"problem": "0 1", "solution": [1]}', "malformed problem", "expected a list such as"),
        ('{"problem": [0, 1, 1, 1], "solution": [1, 1]}', "solution not correct (wrong_value)", "not correct"),
    ],
}


def read(task: str, path: Path, out: Path, source: SourceFormat = LISTS, **options: Any) -> ImportResult:
    return import_dataset(task, {"test": [str(path)]}, str(out), source=source, **options)


@pytest.mark.parametrize("task", MALFORMED)
def test_500_malformed_lines_are_counted_by_kind(task: str, tmp_path: Path) -> None:
    faults = [MALFORMED[task][k % len(MALFORMED[task])] for k in range(500)]
    lines = [GOOD[task], *(line for line, _, _ in faults), GOOD[task]]
    (tmp_path / "a").write_text("\n".join(lines))
    result = read(task, tmp_path / "a", tmp_path / "d")
    assert result.skipped == Counter(kind for _, kind, _ in faults if kind)
    numbered = [(k, named) for k, (_, kind, named) in enumerate(faults, start=2) if kind][:20]
    for line, (number, named) in zip(result.skipped_lines, numbered, strict=True):
        assert line.number == number and named in line.reason, line
    assert len(open_dataset(tmp_path / "d", "test")) == 2
    assert verify_dataset(str(tmp_path / "d"), workers=0).damage == ()
    limit = sum(result.skipped.values()) - 1
    with pytest.raises(
        UserError, match=f"more than {limit} lines were rejected.*a, line {numbered[0][0]}: .*--max-bad"
    ):
        read(task, tmp_path / "a", tmp_path / "e", max_bad=limit)


def test_csv_lines(tmp_path: Path) -> None:
    text = 'id,answer,question\n1,"[[2]]","[[2]]"\n2,[[1]]\n3,"[[1]],[[1]]\n\n4,x,[[1]]\n5,"[[1],[2]]","[[1, 2]]"\n'
    (tmp_path / "a.csv").write_text(text)
    source = SourceFormat(format="csv", notation="lists", columns={"problem": "question", "solution": "answer"})
    result = read("transpose", tmp_path / "a.csv", tmp_path / "d", source)
    assert result.skipped == {"not valid CSV": 2, "malformed solution": 1}
    assert [line.number for line in result.skipped_lines] == [3, 4, 6]
    assert result.manifest.splits["test"].rows == 2
    with pytest.raises(UserError, match=r"a.csv has no column 'problem'.*id, answer, question"):
        read("transpose", tmp_path / "a.csv", tmp_path / "e", SourceFormat(format="csv", notation="lists"))
    (tmp_path / "b.csv").write_text("a,a\n1,2\n")
    with pytest.raises(UserError, match=r"b\.csv has no header"):
        read("transpose", tmp_path / "b.csv", tmp_path / "e", SourceFormat(format="csv", notation="lists"))


@pytest.mark.parametrize("file_format", ["parquet", "arrow"])
def test_damaged_tables_raise_user_errors(file_format: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{file_format}"
    path.write_bytes(b"no table at all")
    with pytest.raises(UserError, match=rf"a.{file_format} cannot be read.*damaged"):
        read("gcd", path, tmp_path / "d", SourceFormat(format=file_format, notation="lists"))  # type: ignore[arg-type]


def test_hugging_face_directories(tmp_path: Path) -> None:
    """As ``save_to_disk`` writes a dataset of several splits; and tables named by split, as on the hub."""
    datasets = pytest.importorskip("datasets")
    rows = {"problem": [[6 * k, 4 * k] for k in range(1, 60)], "solution": [2 * k for k in range(1, 60)]}
    both = datasets.DatasetDict(
        {
            "train": datasets.Dataset.from_dict(rows),
            "validation": datasets.Dataset.from_dict({k: v[:7] for k, v in rows.items()}),
        }
    )
    both.save_to_disk(str(tmp_path / "saved"), num_shards={"train": 3, "validation": 1})
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for split, name in (("train", "train-00000-of-00001"), ("validation", "validation-00000-of-00001")):
        both[split].to_parquet(str(tmp_path / "hub" / "data" / f"{name}.parquet"))
    (tmp_path / "hub" / "README.md").write_text("a card")
    (tmp_path / "hub" / "data" / "extra.parquet").write_bytes(b"")
    for name, file_format in (("saved", "arrow"), ("hub", "parquet")):
        files, others = find_splits(str(tmp_path / name))
        assert list(files) == ["train", "valid"] and others == (["extra.parquet"] if name == "hub" else [])
        source = SourceFormat(format=file_format, notation="lists")  # type: ignore[arg-type]
        import_dataset("gcd", files, str(tmp_path / f"{name}.d"), source=source)
        solutions = [s for chunk in open_dataset(tmp_path / f"{name}.d").chunks() for s in chunk.solutions.to_list()]
        assert solutions == [[2 * k] for k in range(1, 60)]
        assert len(open_dataset(tmp_path / f"{name}.d", "valid")) == 7
    with pytest.raises(UserError, match="holds no split"):
        find_splits(str(tmp_path))


def test_alphabets(tmp_path: Path) -> None:
    def alphabet(text: str, given: tuple[str, ...] | None = None) -> list[str]:
        (tmp_path / "a").write_text(text)
        out = tmp_path / f"d{len(list(tmp_path.iterdir()))}"
        read("unverified-sequences", tmp_path / "a", out, SourceFormat(), alphabet=given)
        data = open_dataset(out, "test")
        shown = [data.problem_type.lines(data.spec, p)[0] for chunk in data.chunks() for p in chunk.problems.to_list()]
        assert len(shown) == text.count("\n")
        return list(data.spec["problems"]["alphabet"])

    assert alphabet("(())\tyes\n()(\tno\n") == list("()") + sorted("yesno".replace("no", "") + "no")
    assert alphabet("10 9 b -1\tb a\n9\t10\n") == ["-1", "9", "10", "a", "b"]
    assert alphabet("ab\tba\n", ("b", "a", "c")) == ["b", "a", "c"]
    many = " ".join(f"t{k}" for k in range(300))
    with pytest.raises(UserError, match="more than 250 different tokens"):
        alphabet(f"{many}\tt1\n")
    with pytest.raises(UserError, match="xor has an alphabet of its own"):
        read("xor", tmp_path / "a", tmp_path / "x", SourceFormat(), alphabet=("a",))


def test_the_validation_split_is_cut_by_the_hash_of_generation(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    matrices = [rng.integers(-9, 10, (2, 2)).tolist() for _ in range(300)] * 2  # every problem twice
    lines = [json.dumps({"problem": m, "solution": np.transpose(m).tolist()}) for m in matrices]
    (tmp_path / "a").write_text("\n".join(lines))
    import_dataset("transpose", {"train": [str(tmp_path / "a")]}, str(tmp_path / "d"), source=LISTS, shard_rows=100)
    for split in ("train", "valid"):
        problems = next(open_dataset(tmp_path / "d", split).chunks(1_000)).problems
        assert (in_split(problem_hash(problems), VALID) == (split == VALID)).all() and len(problems) > 10
    (tmp_path / "b").write_text("".join(f"{k:b}\t{k:b}\n" for k in range(300)))
    import_dataset("unverified-sequences", {"train": [str(tmp_path / "b")]}, str(tmp_path / "e"))
    for split in ("train", "valid"):
        problems = next(open_dataset(tmp_path / "e", split).chunks(1_000)).problems
        assert (in_split(sequence_hash(problems), VALID) == (split == VALID)).all() and len(problems) > 5


@pytest.mark.parametrize("task", ["transpose", "gcd"])
def test_workers_make_the_same_dataset(task: str, tmp_path: Path) -> None:
    faults = [line for line, _, _ in MALFORMED[task]]
    (tmp_path / "a").write_text("\n".join([*[GOOD[task]] * 90, *faults] * 5))
    files = {"train": [str(tmp_path / "a")]}
    one, two = (
        import_dataset(task, files, str(tmp_path / str(n)), source=LISTS, shard_rows=100, workers=n) for n in (0, 2)
    )
    assert (one.skipped, one.skipped_lines, one.num_verified) == (two.skipped, two.skipped_lines, two.num_verified)
    assert one.manifest.splits == two.manifest.splits, "the same bytes"


def test_a_killed_import_leaves_no_dataset_and_starts_over(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f"{GOOD['gcd']}\n" * 60_000)
    command = [
        sys.executable,
        "-m",
        "mathpipe.pipeline.cli",
        "import",
        "--task",
        "gcd",
        "--train",
        "a.jsonl",
        "--valid",
        "a.jsonl",
    ]
    command += ["--out", "d", "--shard-rows", "5k"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "d" / "__records/valid/00000.json").exists() and time.monotonic() < deadline:
        assert process.poll() is None, "the import ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "d" / "manifest.json").exists() and (tmp_path / "d" / "valid" / "00000.parquet").exists()
    with pytest.raises(UserError, match="no complete dataset"):
        open_dataset(tmp_path / "d")
    os.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(command[3:])
    assert not stop.value.code and len(open_dataset(tmp_path / "d")) == 60_000
    assert verify_dataset(str(tmp_path / "d"), workers=0).damage == ()


def test_tables_stream(tmp_path: Path) -> None:
    """Rows of a table become Python values 1,000 at a time, whatever its row groups."""
    rows = pa.table(
        {"problem": [[2 * k, 4] for k in range(1, 3_001)], "solution": [int(np.gcd(2 * k, 4)) for k in range(1, 3_001)]}
    )
    pq.write_table(rows, tmp_path / "a.parquet")
    with pa.ipc.new_file(tmp_path / "a.arrow", rows.schema) as writer:
        writer.write_table(rows)
    with pa.ipc.new_stream(tmp_path / "b.arrow", rows.schema) as writer:
        writer.write_table(rows)
    for k, name in enumerate(("a.parquet", "a.arrow", "b.arrow")):
        source = SourceFormat(format=name.split(".")[1], notation="lists")  # type: ignore[arg-type]
        assert read("gcd", tmp_path / name, tmp_path / str(k), source).manifest.splits["test"].rows == 3_000


TASK_FILE = """
import math


def example(rng, spec):
    a, b = (int(k) for k in rng.integers(1, 1000, 2))
    return (a, b), math.gcd(a, b)


def verify(problem, answer, prediction):
    return math.gcd(*problem) == prediction
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_a_task_outside_the_package_verifies_answers(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_gcd.py").write_text(TASK_FILE)
    (tmp_path / "a").write_text(f'{GOOD["gcd"]}\n{{"problem": [7, 5], "solution": 2}}\n')
    files = {"test": [str(tmp_path / "a")]}
    result = import_dataset("./own_gcd.py", files, str(tmp_path / "d"), source=LISTS, workers=workers)
    assert result.skipped == {"solution not correct (verify of the task rejects it)": 1}
    assert result.manifest.spec["task"] == "own-gcd" and len(result.manifest.spec["source_digest"]) == 64
    assert verify_dataset(str(tmp_path / "d"), workers=0).damage == ()
