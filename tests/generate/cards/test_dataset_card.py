"""The dataset card: its header, its text, the command that makes the dataset again, and what a user adds to it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.datasets.io.storage import Storage
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.cards.dataset_card import END, dataset_card, size_category, write_card
from mathpipe.generate.curate.dataset_import import import_dataset
from mathpipe.generate.curate.deduplication import deduplicate
from mathpipe.generate.dataset_spec import DatasetSpec, SourceFormat
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.pipeline.cli import main

SPEC = DatasetSpec(task="add", problems=MatrixSpec(min_dim=2, max_dim=2), chunk_rows=100)


def build(folder: Path, train: int = 200, **more: int) -> None:
    make_dataset(SPEC, Layout({"train": train, "valid": 20, "test": 20, **more}, 100), str(folder), workers=0)


def card_of(folder: Path) -> tuple[dict[str, object], str]:
    """(header, text) of the card in a folder."""
    header, text = (folder / "README.md").read_text().removeprefix("---\n").split("---\n", 1)
    return yaml.safe_load(header), text


def run(command: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(shlex.split(command)[1:])
    assert end.value.code == 0


@pytest.mark.parametrize(
    "options",
    [
        "--task eigenvalues --dim 3 --n 60 --valid 10 --test 10 --seed 7 --extra-test far:spectrum=laplace,semicircle,n=5 "
        "--extra-test noisy:noise=0.05 --extra-test same:n=4",
        "--task matmul --rows 2 --cols 3 --max-coeff 0.1 --no-round-problems --n 40 --valid 5 --test 5 --shard-rows 1k",
        "--task eigenvalues --min-dim 2 --max-dim 4 --spectrum laplace,semicircle --n 40 --valid 5 --test 0",
        "--task integration-bwd --n 40 --min-operators 1 --max-operators 3 --operators div:0,tan:0.5 --extra-test t:simplify=1,n=5",
        "--task modular-add --modulus 59 --n 40",
        "--task xor --bits 5 --n 40",
    ],
)
def test_command_makes_the_same_dataset(options: str, tmp_path: Path) -> None:
    run(f"mathpipe generate {options} --workers 0 --out {tmp_path / 'first'}")
    command = re.search(r"```sh\n(mathpipe generate.*?)\n```", (tmp_path / "first/README.md").read_text(), re.DOTALL)
    assert command is not None
    run(command[1].replace("\\\n", " ").replace("DIR", str(tmp_path / "second")))
    first, second = (read_manifest(str(tmp_path / name)) for name in ("first", "second"))
    assert first.digest == second.digest and first.split_specs == second.split_specs
    for name in ("README.md", "manifest.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_header_names_each_split_once(tmp_path: Path) -> None:
    build(tmp_path / "d", **{"test-same": 10, "test-none": 0})
    header, text = card_of(tmp_path / "d")
    assert header["license"] == "cc0-1.0" and header["size_categories"] == ["n<1K"]
    assert header["configs"] == [
        {
            "config_name": "default",
            "default": True,
            "data_files": [{"split": name, "path": f"{name}/*.parquet"} for name in ("train", "valid", "test")],
        },
        {"config_name": "same", "data_files": [{"split": "test", "path": "extra/same/*.parquet"}]},
    ]
    for phrase in (
        "250 problems of the task `add`",
        "largest coefficient",
        "`mathpipe verify DIR`",
        "double precision",
    ):
        assert phrase in text
    assert "{" not in text, "the spec is written in words, not in JSON"


def test_command_of_a_dataset_without_training_examples(tmp_path: Path) -> None:
    spec = DatasetSpec(task="add", problems=SPEC.problems)
    make_dataset(spec, Layout({"test": 20}, 100), str(tmp_path / "first"), workers=0)
    command = re.search(r"```sh\n(mathpipe generate.*?)\n```", card_of(tmp_path / "first")[1], re.DOTALL)
    assert command is not None
    run(command[1].replace("\\\n", " ").replace("DIR", str(tmp_path / "second")))
    first, second = (tmp_path / name / "test" / "00000.parquet" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_evidence_is_listed(tmp_path: Path) -> None:
    out = tmp_path / "d"
    run(f"mathpipe generate --task integration-bwd --n 8 --min-operators 1 --max-operators 2 --workers 0 --out {out}")
    assert "Evidence in train" not in card_of(out)[1]
    with pytest.raises(SystemExit):
        main(["verify", str(out), "--prove", "--workers", "0", "--quiet"])
    counts = read_manifest(str(out)).splits["train"].evidence or {}
    assert f"Evidence in train: {', '.join(f'{name} {n}' for name, n in counts.items())}" in card_of(out)[1]


def test_card_is_preserved_where_the_user_changed_it(tmp_path: Path) -> None:
    build(tmp_path / "d")
    path = tmp_path / "d" / "README.md"
    text = path.read_text().replace("license: cc0-1.0", "license: mit\nlanguage: en")
    path.write_text(text.replace(END, f"{END}\n\nSee our paper."))
    build(tmp_path / "d", train=300)
    header, text = card_of(tmp_path / "d")
    assert (header["license"], header["language"]) == ("mit", "en") and text.endswith(f"{END}\n\nSee our paper.\n")
    assert "340 problems" in text
    assert dataset_card(read_manifest(str(tmp_path / "d")), path.read_text()) == path.read_text()


def test_foreign_readme_becomes_the_user_part(tmp_path: Path) -> None:
    build(tmp_path / "d")
    storage = Storage(str(tmp_path / "d"))
    storage.write_text("README.md", "# Our data\n\nCite us.\n")
    write_card(storage, read_manifest(storage.url))
    assert card_of(tmp_path / "d")[1].endswith(f"{END}\n\n# Our data\n\nCite us.\n")


def test_lost_card_is_written_again(tmp_path: Path) -> None:
    build(tmp_path / "d")
    card = (tmp_path / "d" / "README.md").read_bytes()
    (tmp_path / "d" / "README.md").unlink()
    build(tmp_path / "d")
    assert (tmp_path / "d" / "README.md").read_bytes() == card


def test_imported_and_deduplicated_datasets_name_their_source(tmp_path: Path) -> None:
    build(tmp_path / "d")
    deduplicate(str(tmp_path / "d"), str(tmp_path / "e"))
    assert read_manifest(str(tmp_path / "d")).digest in card_of(tmp_path / "e")[1]
    (tmp_path / "gcd.jsonl").write_text('{"problem": [12, 18], "solution": 6}\n' * 3)
    source = SourceFormat(format="jsonl", notation="lists")
    import_dataset("gcd", {"train": [str(tmp_path / "gcd.jsonl")]}, str(tmp_path / "f"), source=source)
    header, text = card_of(tmp_path / "f")
    assert header["license"] == "unknown" and "| train | gcd.jsonl | `" in text


@pytest.mark.parametrize(
    ("rows", "category"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (100_000, "100K<n<1M"), (50_000_000, "10M<n<100M"),
     (10**9, "1B<n<10B"), (10**12, "n>1T")],
)  # fmt: skip
def test_size_category(rows: int, category: str) -> None:
    assert size_category(rows) == category
