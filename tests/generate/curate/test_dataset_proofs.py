"""``verify --prove``: evidence row by row beside the shards, counts in records and manifest, the same after an interruption."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import read_manifest, read_record
from mathpipe.datasets.format.shard_evidence import read_evidence
from mathpipe.datasets.io.storage import Storage
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_proofs import prove_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.outcomes import EVIDENCE, Verification
from mathpipe.generate.tasks.task_registry import token_task
from mathpipe.generate.tasks.token_task import TokenTask
from mathpipe.pipeline.cli import cli

TASK = token_task("integration-bwd")
ROWS = {"train": 120, "test": 3}


@pytest.fixture
def integrals(tmp_path: Path) -> Path:
    """Three shards of train, one of test."""
    spec = DatasetSpec(task=TASK.name, problems=TASK.default_spec, chunk_rows=40)
    make_dataset(spec, Layout(ROWS, 40), str(tmp_path / "integrals"), workers=0)
    return tmp_path / "integrals"


def shards(url: Path) -> dict[str, bytes]:
    return {str(file.relative_to(url)): file.read_bytes() for file in sorted(url.rglob("*.parquet"))}


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The sizes of the batches that are verified as predictions; every tenth row of a batch counts as sampled."""
    sizes: list[int] = []
    verify = TASK.verify

    def counted(problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
        sizes.append(len(problems))
        verification = verify(problems, references, predicted)
        evidence = verification.evidence.copy()
        evidence[::10] = EVIDENCE.index("sampled")
        return replace(verification, evidence=evidence)

    monkeypatch.setattr(TASK, "verify", counted)
    yield sizes


def test_counts_are_those_of_the_verifier(integrals: Path) -> None:
    before, digest = shards(integrals), read_manifest(str(integrals)).digest
    report = prove_dataset(str(integrals))
    examples = next(open_dataset(integrals).chunks())
    expected = TASK.verify(examples.problems, examples.solutions, examples.solutions)
    manifest = read_manifest(str(integrals))
    assert sum(ROWS.values()) == report.rows == report.counts.total()
    assert not report.wrong
    assert (manifest.splits["train"].evidence or {})["proven"] >= 100
    first = manifest.splits["train"].shards[0]
    assert first.evidence == Counter(EVIDENCE[k] for k in expected.evidence[:40])
    assert sum((first.outcomes or {}).values()) == 40
    assert shards(integrals) == before and manifest.digest == digest
    assert verify_dataset(str(integrals)).damage == ()


def test_evidence_of_each_row_is_stored(integrals: Path, verified: list[int]) -> None:
    report = prove_dataset(str(integrals))
    record = read_manifest(str(integrals)).splits["train"].shards[1]
    evidence = read_evidence(Storage(str(integrals)), record)
    assert evidence is not None
    sampled = np.flatnonzero(evidence.evidence == evidence.evidence_names.index("sampled"))
    assert sampled.tolist() == [0, 10, 20, 30]
    remark = next(remark for remark in report.remarks if remark.file == record.file)
    assert remark.rows == (40, 50, 60, 70) and "sampled" in remark.what
    assert (remark.kind, remark.outcome) == ("unconfirmed", "exact")


def test_a_second_call_verifies_nothing(integrals: Path, verified: list[int]) -> None:
    first = prove_dataset(str(integrals))
    manifest = (integrals / "manifest.json").read_bytes()
    verified.clear()
    assert prove_dataset(str(integrals)) == first
    assert verified == [] and (integrals / "manifest.json").read_bytes() == manifest


def test_an_interruption_loses_only_the_shard_in_progress(integrals: Path, verified: list[int]) -> None:
    def interrupt(rows: int) -> None:
        if len(verified) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prove_dataset(str(integrals), on_rows=interrupt)
    assert read_manifest(str(integrals)).splits["train"].evidence is None
    assert verify_dataset(str(integrals)).damage == ()
    verified.clear()  # of what this verified
    starts: list[tuple[int, int]] = []
    report = prove_dataset(str(integrals), on_start=lambda rows, done: starts.append((rows, done)))
    assert verified == [40, 3] and starts == [(123, 80)]
    assert report.counts[("exact", "sampled")] == 4 + 4 + 4 + 1


def test_an_interruption_between_records_and_manifest_is_no_damage(integrals: Path) -> None:
    manifest = (integrals / "manifest.json").read_bytes()
    prove_dataset(str(integrals))
    (integrals / "manifest.json").write_bytes(manifest)
    assert verify_dataset(str(integrals)).damage == ()
    prove_dataset(str(integrals))
    assert read_manifest(str(integrals)).splits["test"].evidence


def test_evidence_of_another_shard_does_not_count(integrals: Path, verified: list[int]) -> None:
    prove_dataset(str(integrals))
    file = integrals / "__records/train/00000.evidence.arrow"
    (integrals / "__records/train/00001.evidence.arrow").write_bytes(file.read_bytes())
    verified.clear()
    prove_dataset(str(integrals))
    assert verified == [40]
    file.write_bytes(file.read_bytes()[:50])
    verified.clear()
    prove_dataset(str(integrals))
    assert verified == [40]


def test_workers_find_the_same(integrals: Path, tmp_path: Path) -> None:
    prove_dataset(str(integrals), workers=1)
    by_workers = read_manifest(str(integrals))
    for file in integrals.rglob("*.evidence.arrow"):
        file.unlink()
    prove_dataset(str(integrals), workers=0)
    assert read_manifest(str(integrals)) == by_workers


def test_more_rows_keep_the_evidence_of_finished_shards(integrals: Path, verified: list[int]) -> None:
    prove_dataset(str(integrals))
    spec = DatasetSpec(task=TASK.name, problems=TASK.default_spec, chunk_rows=40)
    make_dataset(spec, Layout(ROWS | {"train": 160}, 40), str(integrals), workers=0)
    train = read_manifest(str(integrals)).splits["train"]
    assert train.evidence is None and [record.evidence is None for record in train.shards] == [False] * 3 + [True]
    verified.clear()
    prove_dataset(str(integrals))
    assert verified == [40]


def test_wrong_solutions_are_listed(integrals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verify = TASK.verify

    def wrong(problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
        verification = verify(problems, references, predicted)
        outcome = verification.outcome.copy()
        outcome[1], outcome[2] = TASK.outcomes.index("partial"), TASK.outcomes.index("undecided")
        return replace(verification, outcome=outcome)

    monkeypatch.setattr(TASK, "verify", wrong)
    monkeypatch.setattr(TASK, "rechecked", lambda problems, solutions: np.ones(len(problems), dtype=np.bool_))
    result = CliRunner().invoke(cli, ["verify", str(integrals), "--prove", "--workers", "0", "--quiet"])
    assert result.exit_code == 1
    assert "train/00001.parquet: row 41: its solution is not correct (partial)" in result.output
    assert "train/00001.parquet: row 42: its solution is not confirmed (undecided)" in result.output
    report = json.loads(CliRunner().invoke(cli, ["verify", str(integrals), "--prove", "--json", "--quiet"]).stdout)
    assert {(fault["kind"], fault["outcome"], *fault["rows"]) for fault in report["remarks"]} >= {
        ("solution", "partial", 41),
        ("unconfirmed", "undecided", 42),
    }


def test_unconfirmed_solutions_are_no_damage(integrals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verify = TASK.verify

    def undecided(problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
        verification = verify(problems, references, predicted)
        outcome = verification.outcome.copy()
        outcome[[1, 2]] = TASK.outcomes.index("undecided")
        return replace(verification, outcome=outcome)

    monkeypatch.setattr(TASK, "verify", undecided)
    monkeypatch.setattr(TASK, "rechecked", lambda problems, solutions: np.zeros(len(problems), dtype=np.bool_))
    result = CliRunner().invoke(cli, ["verify", str(integrals), "--workers", "0", "--quiet"])
    assert result.exit_code == 0, result.output
    assert "train/00001.parquet: rows 41, 42: its solution is not confirmed (undecided)" in result.output
    assert "of 123 answers correct" in result.output
    as_json = CliRunner().invoke(cli, ["verify", str(integrals), "--workers", "0", "--quiet", "--json"])
    report = json.loads(as_json.stdout)
    assert report["damage"] == [] and [41, 42] in [fault["rows"] for fault in report["unconfirmed"]]
    assert {(fault["kind"], fault["outcome"]) for fault in report["unconfirmed"]} == {("unconfirmed", "undecided")}


def test_command_prints_and_shows_the_evidence(integrals: Path) -> None:
    command = ["verify", str(integrals), "--prove", "--workers", "0", "--quiet"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    assert "exact, proven" in result.output
    counts = json.loads(CliRunner().invoke(cli, [*command, "--json"]).stdout)["counts"]
    assert sum(count["rows"] for count in counts) == 123
    shown = CliRunner().invoke(cli, ["show", str(integrals), "-k", "2"]).output
    assert "evidence: proven" in shown and shown.count("evidence  ") == 2


def test_matrices_have_no_proofs(make_small) -> None:
    url = make_small("transpose", train=500)
    with pytest.raises(UserError, match="transpose has no proofs"):
        prove_dataset(str(url))


def test_record_without_evidence_reads_as_before(integrals: Path) -> None:
    assert "evidence" not in json.loads((integrals / "__records/train/00000.json").read_text())
    record = read_record(Storage(str(integrals)), "train", 0)
    assert record is not None and record.evidence is None
    assert isinstance(TASK, TokenTask)
