"""Import of JSON Lines and text in infix and LaTeX: each line is imported or reported, by any number of workers."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.vocabulary import TOKENS
from mathpipe.datasets.io.import_records import Record
from mathpipe.generate.curate.dataset_import import ImportResult, import_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.curate.import_batches import import_batch
from mathpipe.generate.dataset_spec import DatasetSpec, ImportedSpec, SourceFormat
from mathpipe.pipeline.cli import main

COLUMNS = {"problem": "integrand", "solution": "integral"}
INFIX = SourceFormat(format="jsonl", notation="infix", columns=COLUMNS)
TABLE = Path(__file__).parents[1] / "tasks" / "textbook_answers.tsv"


def call(*line: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main([argument for part in line for argument in part.split()])
    return int(stop.value.code or 0)


def write_objects(path: Path, pairs: Sequence[tuple[object, object]]) -> Path:
    lines = (json.dumps({"integrand": problem, "integral": solution, "source": "-"}) for problem, solution in pairs)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def read(
    path: Path, out: Path, task: str = "integration-bwd", source: SourceFormat = INFIX, workers: int = 0
) -> ImportResult:
    return import_dataset(task, {"test": [str(path)]}, str(out), source=source, workers=workers)


def pairs_of(url: Path) -> list[tuple[str, str]]:
    chunks = list(open_dataset(url, "test").chunks())
    sides = ([s for c in chunks for s in getattr(c, side).to_list()] for side in ("problems", "solutions"))
    return [(" ".join(TOKENS[t] for t in p), " ".join(TOKENS[t] for t in s)) for p, s in zip(*sides, strict=True)]


@pytest.mark.parametrize(
    ("task", "notation", "problem", "solution", "tokens"),
    [
        ("integration-bwd", "infix", "2x", "x^2", ("sub Y' mul INT+ 2 x", "pow x INT+ 2")),
        ("integration-bwd", "infix", "y' = 2x", "y = x^2 + 5", ("sub Y' mul INT+ 2 x", "add pow x INT+ 2 INT+ 5")),
        ("integration-bwd", "infix", "y' - 2x", "x^2", ("sub Y' mul INT+ 2 x", "pow x INT+ 2")),
        ("integration-bwd", "infix", "2x", "x^2 + C", ("sub Y' mul INT+ 2 x", "pow x INT+ 2")),
        ("integration-bwd", "infix", "2x + 1", "x^2 + x + c", ("sub Y' add mul INT+ 2 x INT+ 1", "add pow x INT+ 2 x")),
        ("integration-bwd", "latex", r"\frac{1}{x}", r"\ln|x| + C", ("sub Y' div INT+ 1 x", "ln abs x")),
        ("ode1", "infix", "y' = y", "y = c*e^x", ("sub Y' Y", "mul a8 exp x")),
        ("ode1", "infix", "y' - y = 0", "c*e^x", ("sub Y' Y", "mul a8 exp x")),
        ("ode2", "latex", r"y'' + y = 0", r"c_1 \cos x + c_2 \sin x", ("add Y'' Y", "add mul a8 cos x mul a9 sin x")),
    ],
)
def test_texts_become_tokens(
    task: str, notation: str, problem: str, solution: str, tokens: tuple[str, str], tmp_path: Path
) -> None:
    path = write_objects(tmp_path / "a", [(problem, solution)])
    objects = INFIX.model_copy(update={"notation": notation})
    assert read(path, tmp_path / "d", task, objects).skipped == {}
    assert pairs_of(tmp_path / "d") == [tokens]
    assert verify_dataset(str(tmp_path / "d"), workers=0).damage == ()
    (tmp_path / "b").write_text(f"{problem}\t{solution}\n")
    read(tmp_path / "b", tmp_path / "e", task, SourceFormat(notation=notation))  # type: ignore[arg-type]
    assert pairs_of(tmp_path / "e") == [tokens]


def test_tokens_in_json_lines(tmp_path: Path) -> None:
    path = write_objects(
        tmp_path / "a", [("sub Y' mul INT+ 2 x", "pow x INT+ 2"), ("sub Y'", "x"), ("sub\tY' x", "x x")]
    )
    result = read(path, tmp_path / "d", source=INFIX.model_copy(update={"notation": "tokens"}))
    assert pairs_of(tmp_path / "d") == [("sub Y' mul INT+ 2 x", "pow x INT+ 2")]
    assert [line.number for line in result.skipped_lines] == [2, 3]


MALFORMED = [
    (b"not json", "not valid JSON"),
    (b"[1, 2]", "expected a JSON object"),
    (b"7", "expected a JSON object"),
    (b'{"integrand": "x"}', "no column 'integral', but 'integrand'"),
    (b"{}", "no column 'integrand', but none"),
    (b'{"integrand": 1, "integral": "x"}', "problem: expected text, got int"),
    (b'{"integrand": "2x", "integral": null}', "column 'integral' is null, expected a solution"),
    (b'{"integrand": "2x", "integral": "x^^2"}', "solution: infix, character 3: an operand is missing"),
    (b'{"integrand": "f(x)", "integral": "x"}', "problem: infix, character 1: unknown name"),
    (b'{"integrand": "y = x", "integral": "x"}', "problem: an equation that is no integral"),
    (b'{"integrand": "x", "integral": "x = y"}', "solution: an equation that is no solution"),
    (b'{"integrand": "y", "integral": "x"}', "problem: 'Y' does not occur in a problem of integration-bwd"),
    (b'{"integrand": "1", "integral": "c*x"}', "solution: 'a8' does not occur in a solution of integration-bwd"),
    (b'{"integrand": "x", "integral": "x^2"}', "its solution is not correct (wrong_value)"),
    (b'{"integrand": "x", "integral": "\xff"}', "not valid JSON"),
    (b'{"integrand": "x", "integral": "\\ud800"}', "solution: infix, character 1"),
    (b"[" * 60_000, "not valid JSON"),
    (b'{"integrand": ' + b"9" * 6_000 + b"}", "not valid JSON|no column"),
    (b'{"integrand": "' + b"x" * 70_000 + b'"}', "longer than 65,536 bytes"),
    (b'{"integrand": "' + b"(" * 60_000 + b'", "integral": "x"}', "problem: infix, character"),
]


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_each_fault_is_named(number: int, tmp_path: Path) -> None:
    line, why = MALFORMED[number]
    (tmp_path / "a.jsonl").write_bytes(b'{"integrand": "2x", "integral": "x^2"}\n\n' + line + b"\n")
    result = read(tmp_path / "a.jsonl", tmp_path / "d")
    assert sum(result.skipped.values()) == 1 and pairs_of(tmp_path / "d") == [("sub Y' mul INT+ 2 x", "pow x INT+ 2")]
    assert result.skipped_lines[0].number == 3
    assert any(result.skipped_lines[0].reason.startswith(reason) for reason in why.split("|"))


def test_500_malformed_lines_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [b'{"integrand": "2x", "integral": "x^2"}'] * 7
    lines += [MALFORMED[k % len(MALFORMED)][0][:5_000] for k in range(500)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    with (tmp_path / "b.jsonl.gz").open("wb") as file:
        file.write(gzip.compress(b"\n".join(lines)))
    for name in ("a.jsonl", "b.jsonl.gz"):
        arguments = "--format jsonl --columns problem=integrand,solution=integral --notation infix --json"
        assert (
            call(f"import --task integration-bwd {arguments} --test {tmp_path}/{name} --out {tmp_path}/{name}.d") == 0
        )
        result = json.loads(capsys.readouterr().out)
        assert result["bad"] == 500 and result["splits"]["test"]["rows"] == 7
        assert result["bad_lines"][0]["line"] == 8 and len(result["bad_lines"]) == 20
        assert [line["line"] for line in result["bad_lines"]] == list(range(8, 28))


def textbook_pairs() -> list[tuple[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [(row["problem"], row["solution"]) for row in rows if row["task"] == "integration-bwd"]


def test_workers_make_the_same_dataset(tmp_path: Path) -> None:
    """Among the lines are two that SymPy decides, which needs a process of its own."""
    pairs = textbook_pairs()
    pairs.insert(50, ("exp(700*x)", "exp(700*x)/700"))
    pairs.insert(250, ("exp(900*x)*exp(-900*x)", "x"))
    pairs += [("x", "x"), ("x", "(")] * 10
    path = write_objects(tmp_path / "a.jsonl", pairs)
    one, two = (read(path, tmp_path / str(workers), workers=workers) for workers in (0, 2))
    assert (one.skipped, one.skipped_lines, one.num_verified) == (two.skipped, two.skipped_lines, two.num_verified)
    assert one.manifest.splits == two.manifest.splits, "the same bytes"
    assert one.manifest.splits["test"].rows > 240
    assert ("sub Y' mul exp mul INT+ 9 0 0 x exp mul INT- 9 0 0 x", "x") in pairs_of(tmp_path / "2")


def test_batches_are_independent() -> None:
    lines = [
        Record("a", k, json.dumps({"integrand": problem, "integral": solution}).encode())
        for k, (problem, solution) in enumerate(textbook_pairs()[:60], start=1)
    ]
    spec = DatasetSpec(
        task="integration-bwd",
        problems=ImportedSpec(problem_type="expressions", sources=(), checked=True, source=INFIX),
    )
    whole = import_batch(spec, lines)
    parts = [import_batch(spec, [line]) for line in lines]
    assert whole.examples.solutions.to_list() == [s for part in parts for s in part.examples.solutions.to_list()]
    assert whole.rejected == [item for part in parts for item in part.rejected]


def test_an_interrupted_import_starts_over(tmp_path: Path) -> None:
    path, out = write_objects(tmp_path / "a.jsonl", [("2x", "x^2"), ("1", "x")] * 5), tmp_path / "d"

    def stop(rows: int) -> None:
        raise RuntimeError("stopped")

    files = {"test": [str(path)]}
    with pytest.raises(RuntimeError):
        import_dataset("integration-bwd", files, str(out), source=INFIX, shard_rows=2, on_rows=stop)
    with pytest.raises(UserError, match="holds something else"):
        read(path, out, source=INFIX.model_copy(update={"notation": "latex"}))
    assert read(path, out).manifest.splits["test"].rows == 10
    assert verify_dataset(str(out), workers=0).damage == ()


def test_the_fingerprint_covers_the_notation() -> None:
    published = ImportedSpec(problem_type="expressions", sources=())
    infix = ImportedSpec(problem_type="expressions", sources=(), source=INFIX, columns={"operators": "int16"})
    assert ImportedSpec.model_validate(infix.model_dump()) == infix
    specs = (DatasetSpec(task="ode1", problems=problems) for problems in (published, infix))
    assert len({spec.fingerprint for spec in specs}) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--columns problem=a,solution=b", "text files have no columns"),
        ("--format jsonl --columns problm=a", "did you mean problem=a?"),
        ("--format jsonl --columns problem=a,problem=b", "names no column"),
        ("--format jsonl --columns problem", "names no column"),
        ("--format jsonl --notation morse", "--notation is invalid"),
        ("--format jsonl --workers -1", "Invalid value for '--workers'"),
        ("--format jsonl --columns problem=a,solution=b", "jsonl with columns a, b as tokens"),
    ],
)
def test_wrong_arguments(arguments: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_objects(tmp_path / "a", [("x", "x")])
    assert call(f"import --task ode1 --test {path} --out {tmp_path}/d", arguments) == 2
    assert message in capsys.readouterr().err
