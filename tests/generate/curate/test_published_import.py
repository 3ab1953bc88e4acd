"""Import of published files: each line is imported or reported, splits stay, and no text is evaluated."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
import zstandard

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.datasets.io.import_records import Fault, RejectedLine
from mathpipe.datasets.io.published_text import Pair, parse_line, read_pairs
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_import import import_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.pipeline.cli import main

LINES = "3|INT+ 1 2\tINT+ 2 1\n1|INT+ 3 4\tINT+ 4 3\nINT- 5\tINT- 5\n"


def call(line: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    return int(stop.value.code or 0)


def ids(text: str) -> bytes:
    return bytes(IDS[token] for token in text.split())


def pairs_of(url: Path, split: str) -> list[tuple[str, str]]:
    chunks = list(open_dataset(url, split).chunks())
    sides = ([s for c in chunks for s in getattr(c, side).to_list()] for side in ("problems", "solutions"))
    return [(" ".join(TOKENS[t] for t in p), " ".join(TOKENS[t] for t in s)) for p, s in zip(*sides, strict=True)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1|sub Y' x\tmul x x", Pair(ids("sub Y' x"), ids("mul x x"))),
        ("sub Y' x \tx", Pair(ids("sub Y' x"), ids("x"))),
        (" 12|x\tx\r", Pair(ids("x"), ids("x"))),
        ("1|x", "expected problem<TAB>solution"),
        ("", "expected problem<TAB>solution"),
        ("1|x\tx\tx", "expected problem<TAB>solution"),
        ("1|x\t", "solution: no tokens"),
        ("1|add x\tx", "problem: token 0: add lacks operands"),
        ("1|x x\tx", "problem: 2 expressions"),
        ("1|x\tINT+", "solution: token 0: INT+ without digits"),
        ("1|x\t__import__('os').system('true')", "solution: unknown token \"__import__('os').system('true')\""),
        ("x|x\tx", "problem: unknown token 'x|x'"),
        ("1|\x00\tx", "problem: unknown token '\\x00'"),
        ("1|" + "sin " * 300 + "x\tx", "problem: deeper than"),
        ("1|x\t" + "x" * 70_000, "longer than 65,536 bytes"),
    ],
)
def test_read_line(line: str, expected: Pair | str) -> None:
    pair = parse_line(line.encode())
    assert pair == expected if isinstance(expected, Pair) else str(pair).startswith(expected)


def test_read_line_never_raises() -> None:
    for line in (b"\xff\xfe\t\xff", b"\t", b"1|\t", b"|x\tx", bytes(range(256))):
        assert isinstance(parse_line(line), Fault)


def compressed(folder: Path, text: str) -> dict[str, str]:
    """The same text in every form, by suffix."""
    data, paths = text.encode(), {}
    for suffix, pack in (
        ("txt", lambda d: d),
        ("gz", gzip.compress),
        ("zst", zstandard.ZstdCompressor().compress),
    ):
        (folder / f"a.{suffix}").write_bytes(pack(data))
        paths[suffix] = str(folder / f"a.{suffix}")
    for suffix in ("tar.gz", "tgz", "tar"):
        with tarfile.open(folder / f"a.{suffix}", "w" if suffix == "tar" else "w:gz") as archive:
            for name, content in (("p/toy.train", data), ("p/toy.test", b"1|x\tx\n"), ("p/README", b"?")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        paths[suffix] = str(folder / f"a.{suffix}")
    return paths


def test_read_compressed_files(tmp_path: Path) -> None:
    paths = compressed(tmp_path, LINES + "nonsense\n")
    for suffix, path in paths.items():
        pairs = list(read_pairs(path, "train"))
        name = f"a.{suffix}" + (":p/toy.train" if "t" in suffix and suffix not in ("txt", "zst") else "")
        assert [type(line) for line in pairs] == [Pair, Pair, Pair, RejectedLine], suffix
        assert str(pairs[3]) == f"{name}, line 4: expected problem<TAB>solution"
    assert list(read_pairs(paths["tgz"], "test")) == [Pair(ids("x"), ids("x"))]
    with pytest.raises(UserError, match=r"holds no file of valid.*ending in .valid.*toy.train"):
        list(read_pairs(paths["tar"], "valid"))


def test_damaged_files_raise_user_errors(tmp_path: Path) -> None:
    paths = compressed(tmp_path, LINES * 5_000)
    for suffix in ("gz", "zst", "tar.gz"):
        whole = Path(paths[suffix]).read_bytes()
        Path(paths[suffix]).write_bytes(whole[: len(whole) // 2] if suffix != "zst" else b"not zstd" + whole)
        with pytest.raises(UserError, match="cannot be read"):
            list(read_pairs(paths[suffix], "train"))
    with pytest.raises(UserError, match="cannot be read"):
        list(read_pairs(str(tmp_path / "none.txt"), "train"))


def test_overlong_line_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"1|x\t" + b"x " * 200_000 + b"\n1|x\tx\n" + b"y" * 300_000)
    pairs = list(read_pairs(str(tmp_path / "a.txt"), "train"))
    assert [type(line) for line in pairs] == [RejectedLine, Pair, RejectedLine]
    assert [line.number for line in pairs if isinstance(line, RejectedLine)] == [1, 3]


def test_import_keeps_splits_and_counts_overlaps(toy: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.train").write_text(LINES + "bad\n" + LINES)
    (tmp_path / "b.train").write_text("1|INT+ 7\tINT+ 7\n")
    (tmp_path / "a.valid").write_text("1|INT+ 1 2\tINT+ 2 1\n1|INT+ 9\tINT+ 9\n1|INT+ 9\tINT+ 9\n")
    (tmp_path / "a.test").write_text("1|INT+ 7\tINT+ 7\n1|INT+ 9\tINT+ 9\nbad\nbad\n")
    files = {s: [str(tmp_path / f"a.{s}")] for s in ("train", "valid", "test")}
    files["train"].append(str(tmp_path / "b.train"))
    result = import_dataset("toy-reverse", files, str(tmp_path / "d"), shard_rows=3)
    assert {s: [r.rows for r in p.shards] for s, p in result.manifest.splits.items()} == {
        "train": [3, 3, 1],
        "valid": [3],
        "test": [2],
    }
    assert list(result.manifest.splits) == ["train", "valid", "test"]
    assert (
        result.skipped == {"not problem<TAB>solution": 3}
        and result.num_verified == 12
        and [str(b) for b in result.skipped_lines][-1] == "a.train, line 4: expected problem<TAB>solution"
    )
    assert result.overlaps == {("valid", "test"): 1, ("train", "test"): 1, ("train", "valid"): 1}
    assert pairs_of(tmp_path / "d", "train")[6] == ("INT+ 7", "INT+ 7")
    assert result.manifest.splits["test"].rejected == {"not problem<TAB>solution": 2}
    assert verify_dataset(str(tmp_path / "d"), workers=0).damage == ()
    sources = open_dataset(tmp_path / "d").spec["problems"]["sources"]
    assert [s["name"] for s in sources if s["split"] == "train"] == ["a.train", "b.train"]


WRONG = "1|sub Y' INT+ 2\tmul INT+ 3 x\n1|sub Y' INT+ 2\tmul INT+ 2 x\n1|x\n"


def test_import_skips_wrong_solutions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").write_text(WRONG)
    line = f"import --task integration-bwd --test {tmp_path}/a --out {tmp_path}/d"
    assert call(line) == 0
    output = capsys.readouterr()
    assert [line for line in output.err.splitlines() if not line.startswith("import: ")] == [
        "a, line 1: its solution is not correct (wrong_value)",
        "a, line 3: expected problem<TAB>solution",
    ]
    assert "2 lines rejected: not problem<TAB>solution 1, solution not correct (wrong_value) 1" in output.out
    assert "2 answers checked, 1 of them wrong and rejected" in output.out
    assert pairs_of(tmp_path / "d", "test") == [("sub Y' INT+ 2", "mul INT+ 2 x")]
    rejected = read_manifest(str(tmp_path / "d")).splits["test"].rejected
    assert rejected == {"solution not correct (wrong_value)": 1, "not problem<TAB>solution": 1}
    assert verify_dataset(str(tmp_path / "d"), workers=0).damage == ()
    with pytest.raises(UserError, match=r"more than 1 lines were rejected.*a, line 1: its solution is not correct"):
        import_dataset("integration-bwd", {"test": [str(tmp_path / "a")]}, str(tmp_path / "e"), max_bad=1)


def test_import_without_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").write_text(WRONG)
    assert call(f"import --task integration-bwd --test {tmp_path}/a --out {tmp_path}/d --no-check") == 0
    assert f"no answer was checked: run `mathpipe verify {tmp_path}/d`" in capsys.readouterr().out
    checked = import_dataset("integration-bwd", {"test": [str(tmp_path / "a")]}, str(tmp_path / "e")).manifest
    assert checked.fingerprint != read_manifest(str(tmp_path / "d")).fingerprint, "other rows, another spec"
    assert call(f"verify {tmp_path}/d --workers 0") == 1
    output = capsys.readouterr().out
    assert "1 damaged place. Next: run `mathpipe import` again from a into another --out" in output
    assert "generate" not in output
    assert call(f"dedupe {tmp_path}/d {tmp_path}/u --workers 0") == 0
    capsys.readouterr()
    assert call(f"verify {tmp_path}/u --workers 0") == 1
    assert (
        "Next: remove manifest.json and the damaged .parquet files, and run `mathpipe dedupe`"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("task", "line", "why"),
    [
        ("ode1", "sub Y'' Y'\tmul a8 exp x", "problem: \"Y''\" does not occur in a problem of ode1"),
        ("ode1", "sub Y' Y\tmul a9 exp x", "solution: 'a9' does not occur in a solution of ode1"),
        ("ode2", "sub Y'' y\tx", "problem: 'y' does not occur in a problem of ode2"),
        ("integration-fwd", "sub Y' Y\texp x", "problem: 'Y' does not occur in a problem of integration-fwd"),
        ("integration-ibp", "sub Y' x\tadd a8 x", "solution: 'a8' does not occur in a solution of integration-ibp"),
    ],
)
def test_import_skips_symbols_of_another_task(task: str, line: str, why: str, tmp_path: Path) -> None:
    right = "sub Y'' x\tadd mul a8 x add a9 mul rac INT+ 2 x x" if task == "ode2" else "sub Y' x\tpow x INT+ 2"
    (tmp_path / "a").write_text(f"1|{line}\n1|{right}\n")
    for check in (True, False):
        files = {"test": [str(tmp_path / "a")]}
        try:
            result = import_dataset(task, files, str(tmp_path / f"{check}"), check=check)
        except UserError as nothing:
            assert check and why in str(nothing)
        else:
            assert result.skipped["symbols of another task"] == 1
            assert result.skipped_lines[0].reason == why


def test_verify_finds_unchecked_wrong_solutions(toy: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1|INT+ 1 2\tINT+ 1 2\n1|INT+ 7\tINT+ 7\n")
    import_dataset("toy-reverse", {"test": [str(tmp_path / "a")]}, str(tmp_path / "d"), check=False)
    damage = verify_dataset(str(tmp_path / "d"), workers=0).damage
    assert [str(d) for d in damage] == ["test/00000.parquet: row 0: its solution is not correct (wrong_value)"]


def test_import_errors(toy: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(LINES + "bad\n" * 30)
    (tmp_path / "none").write_text("bad\n")
    with pytest.raises(UserError, match=r"more than 4 lines were rejected.*a, line 4: expected"):
        import_dataset("toy-reverse", {"test": [str(tmp_path / "a")]}, str(tmp_path / "d"), max_bad=4)
    result = import_dataset("toy-reverse", {"test": [str(tmp_path / "a")]}, str(tmp_path / "d"))
    assert result.skipped == {"not problem<TAB>solution": 30} and len(result.skipped_lines) == 20
    again = import_dataset("toy-reverse", {"test": [str(tmp_path / "a")]}, str(tmp_path / "d"))
    assert again.manifest == result.manifest and again.skipped == result.skipped
    with pytest.raises(UserError, match="holds something else"):
        import_dataset("toy-reverse", {"train": [str(tmp_path / "a")]}, str(tmp_path / "d"))
    with pytest.raises(UserError, match=r"no line of .*none is an example"):
        import_dataset("toy-reverse", {"test": [str(tmp_path / "none")]}, str(tmp_path / "e"))
    with pytest.raises(UserError, match="expected tokens of the alphabet 0 1"):
        import_dataset("xor", {"test": [str(tmp_path / "a")]}, str(tmp_path / "f"))
    with pytest.raises(UserError, match=r"problem: .*is not a token of P10"):
        import_dataset("add", {"test": [str(tmp_path / "a")]}, str(tmp_path / "f"))


def test_interrupted_import_restarts(toy: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(LINES * 4)
    files, out = {"train": [str(tmp_path / "a")]}, tmp_path / "d"
    with pytest.raises(RuntimeError):
        import_dataset("toy-reverse", files, str(out), shard_rows=2, on_rows=stop)
    import_dataset("toy-reverse", files, str(out), shard_rows=2)
    (out / "manifest.json").unlink()
    import_dataset("toy-reverse", files, str(out), shard_rows=100)
    assert sorted(p.name for p in (out / "train").iterdir()) == ["00000.parquet"]
    (out / "manifest.json").unlink()
    (out / "train" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds something else.*thesis.tex"):
        import_dataset("toy-reverse", files, str(out))
    (out / "train" / "thesis.tex").unlink()
    (tmp_path / "a").write_text(LINES)
    with pytest.raises(UserError, match="holds something else"):
        import_dataset("toy-reverse", files, str(out))


def stop(rows: int) -> None:
    raise RuntimeError("stopped")


def test_export_import_round_trip(toy: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = DatasetSpec(task="toy-reverse", problems=ExpressionSpec(min_operators=4, max_operators=8), chunk_rows=100)
    make_dataset(spec, Layout({"train": 1_000, "valid": 30, "test": 30}, 500), str(tmp_path / "d"), workers=0)
    line = f"import --task toy-reverse --out {tmp_path}/again --json"
    for split in ("train", "valid", "test"):
        assert call(f"export {tmp_path}/d --split {split} --out {tmp_path}/{split}.txt") == 0
        line += f" --{split} {tmp_path}/{split}.txt"
    capsys.readouterr()
    assert call(line) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["bad"] == 0 and set(output["overlaps"].values()) == {0}
    for split in ("train", "valid", "test"):
        assert pairs_of(tmp_path / "again", split) == pairs_of(tmp_path / "d", split)
    assert read_manifest(str(tmp_path / "again")).spec["problems"]["kind"] == "imported"
    assert call(f"import --task toy-reverse --out {tmp_path}/x") == 2
    assert call(f"show {tmp_path}/again -k 1") == 0
