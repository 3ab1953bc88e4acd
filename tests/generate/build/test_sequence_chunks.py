"""One RNG stream for all splits: the spec alone decides the examples of each split, and the bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import dask
import distributed
import numpy as np
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.containers.ragged_sequences import IntegerSequences, Sequences
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.example_formats import TokenFormat
from mathpipe.datasets.format.manifest import Manifest, Split, read_manifest
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.io.storage import HashingFile, Storage
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.chunks.pair_chunks import Pairs
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.splits import in_split, sequence_hash
from mathpipe.generate.tasks import task_registry as registry
from mathpipe.generate.tasks.task_registry import get_task

TOY = Path(__file__).parents[2] / "toy_expressions.py"
SPEC = DatasetSpec(task="toy-reverse", problems=ExpressionSpec(min_operators=4, max_operators=8), chunk_rows=100)
LAYOUT = Layout({"train": 2_050, "valid": 100, "test": 60}, 500)


def contents(url: Path) -> dict[str, bytes]:
    return {str(p.relative_to(url)): p.read_bytes() for p in sorted(url.rglob("*")) if p.is_file()}


@pytest.fixture
def whole(toy: ModuleType, tmp_path: Path) -> dict[str, bytes]:
    """The bytes of the dataset built in this process, without interruption."""
    make_dataset(SPEC, LAYOUT, str(tmp_path / "whole"), workers=0)
    return contents(tmp_path / "whole")


def rows_of(url: Path, split: str) -> TokenExamples:
    return TokenExamples.concatenate(list(open_dataset(url, split).chunks()))  # type: ignore[arg-type]


def same(a: TokenExamples, b: TokenExamples) -> bool:
    return (
        a.problems.to_list() == b.problems.to_list()
        and a.solutions.to_list() == b.solutions.to_list()
        and np.array_equal(a.row, b.row)
        and all(np.array_equal(a.columns[name], b.columns[name]) for name in a.columns)
    )


def test_sequence_hash() -> None:
    """The hash must never change: it decides the splits of existing datasets."""
    sequences = Sequences.from_list([b"", b"\x00", b"\x00\x00", b"\x01\x02\x03", b"\x03\x02\x01"])
    hashes = sequence_hash(sequences)
    assert len(set(hashes.tolist())) == 5
    mask, gold = (1 << 64) - 1, 0x9E3779B97F4A7C15

    def mixed(z: int) -> int:
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    def key(j: int) -> int:
        return mixed((j + 1) * gold & mask) | 1

    for sequence, hash_value in zip(sequences.to_list(), hashes.tolist(), strict=True):
        assert hash_value == mixed(
            (key(0) * len(sequence) + sum(key(j + 1) * token for j, token in enumerate(sequence))) & mask
        )
    many = Sequences.from_list(np.random.default_rng(0).integers(0, 91, (40_000, 6)).tolist())
    proportions = [in_split(sequence_hash(many), split).mean() * 16 for split in ("train", "valid", "test", "test-far")]
    assert proportions == pytest.approx([14, 1, 1, 1], rel=0.05)


def test_chunks_have_exact_rows_per_split_in_sampling_order(toy: ModuleType) -> None:
    chunk = get_task(SPEC.task).build_chunk(SPEC, 3, ["train", "valid", "test"])
    assert {split: len(b.examples) for split, b in chunk.items()} == {"train": 100, "valid": 8, "test": 8}
    assert [get_task(SPEC.task).rows_per_chunk(SPEC, split) for split in ("train", "valid", "test-far")] == [100, 8, 8]
    from mathpipe.generate.sampling.rng_streams import chunk_generator

    batches = toy.pairs(
        SPEC.problems, lambda k: chunk_generator(SPEC.fingerprint, "stream", 3, k), lambda p: np.ones(len(p), bool)
    )
    accepted = Sequences.concatenate([next(batches).problems for _ in range(20)])
    for split, split_chunk in chunk.items():
        expected = accepted.take(in_split(sequence_hash(accepted), split))
        assert split_chunk.examples.problems.to_list() == expected.to_list()[: len(split_chunk.examples)]
        assert split_chunk.examples.row.tolist() == [
            3 * get_task(SPEC.task).rows_per_chunk(SPEC, split) + k for k in range(len(split_chunk.examples))
        ]


@pytest.mark.parametrize("requested_splits", [["train"], ["valid"], ["test", "valid"], ["train", "test"]])
def test_split_is_independent_of_other_requested_splits(toy: ModuleType, requested_splits: list[str]) -> None:
    together, alone = (
        toy.TASK.build_chunk(SPEC, 0, splits) for splits in (["train", "valid", "test"], requested_splits)
    )
    assert list(alone) == requested_splits
    for split in requested_splits:
        assert same(alone[split].examples, together[split].examples)
        assert alone[split].rejected == together[split].rejected


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_split_is_independent_of_batch_size(toy: ModuleType, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """The same pairs in batches of another size, with no work skipped, give the same examples."""
    before = get_task(SPEC.task).build_chunk(SPEC, 0, ["train", "valid", "test"])

    def regrouped(
        spec: ExpressionSpec, generator: Callable[..., np.random.Generator], wanted: object
    ) -> Iterator[Pairs]:
        pending: list[Pairs] = []
        for batch in toy.pairs(spec, generator, lambda problems: np.ones(len(problems), bool)):
            pending.append(batch)
            if sum(map(len, pending)) < size:
                continue
            problems = Sequences.concatenate([p.problems for p in pending])
            solutions = Sequences.concatenate([p.solutions for p in pending])
            operators = np.concatenate([p.columns["operators"] for p in pending])
            pending = []
            for first in range(0, len(problems), size):
                index = np.arange(first, min(first + size, len(problems)))
                yield Pairs(problems.take(index), solutions.take(index), {"operators": operators[index]})

    monkeypatch.setattr(toy.TASK, "pairs", regrouped)
    after = get_task(SPEC.task).build_chunk(SPEC, 0, ["train", "valid", "test"])
    assert all(same(before[split].examples, after[split].examples) for split in before)


def test_exhausted_sequence_spec_raises(toy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> Iterator[Pairs]:
        none = Sequences.from_list([])
        while True:
            yield Pairs(none, none, {"operators": np.empty(0)}, Counter({"no primitive": 40}))

    def one(*_: object) -> Iterator[Pairs]:
        problem = Sequences.from_list([b"\x47\x52"] * 40)
        while True:
            yield Pairs(problem, problem, {"operators": np.ones(40)})

    for pairs, message in [
        (nothing, r"chunk 0 cannot be filled.*100 rows of train missing.*'no primitive': 2000"),
        (one, "cannot be filled.*rows of (train|valid) missing"),
        (lambda *_: iter(()), "cannot be filled"),
    ]:
        monkeypatch.setattr(toy.TASK, "pairs", pairs)
        with pytest.raises(UserError, match=message):
            get_task(SPEC.task).build_chunk(SPEC, 0, ["train", "valid"])


def test_each_chunk_is_computed_once(toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[tuple[int, tuple[str, ...]]] = []
    build = toy.TASK.build_chunk

    def counted(spec: DatasetSpec, chunk: int, splits: list[str]) -> object:
        computed.append((chunk, tuple(splits)))
        return build(spec, chunk, splits)

    monkeypatch.setattr(toy.TASK, "build_chunk", counted)
    make_dataset(SPEC, LAYOUT, str(tmp_path / "d"), workers=0)
    assert [chunk for chunk, _ in computed] == list(range(21))
    assert (
        computed[0][1] == ("train", "valid", "test")
        and computed[12][1] == ("train", "valid")
        and computed[20][1] == ("train",)
    )


def test_contents_of_shards(whole: dict[str, bytes], tmp_path: Path) -> None:
    manifest = read_manifest(str(tmp_path / "whole"))
    assert {s: [r.rows for r in p.shards] for s, p in manifest.splits.items()} == {
        "train": [500, 500, 500, 500, 50],
        "valid": [40, 40, 20],
        "test": [40, 20],
    }
    file = pq.ParquetFile(tmp_path / "whole" / "train" / "00000.parquet")
    assert {f.name: str(f.type) for f in file.schema_arrow} == {
        "row": "int64",
        "problem": "list<element: uint8 not null>",
        "solution": "list<element: uint8 not null>",
        "operators": "int16",
    }
    assert {b"mathpipe.spec", b"mathpipe.vocabulary", b"mathpipe.version"} <= set(file.metadata.metadata)
    assert all(len(rows_of(tmp_path / "whole", s)) == n for s, n in LAYOUT.splits.items())
    problems = {s: set(rows_of(tmp_path / "whole", s).problems.to_list()) for s in LAYOUT.splits}
    assert not problems["train"] & problems["valid"] and not problems["valid"] & problems["test"]
    data = open_dataset(tmp_path / "whole")
    assert data.problem_type.name == "expressions" and sum(map(len, data.chunks(size=30))) == 2_050
    assert manifest.splits["train"].rejected["unlucky"] > 100


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_write_the_same_bytes(whole: dict[str, bytes], tmp_path: Path, workers: int) -> None:
    assert distributed.__version__  # its settings are loaded before they are changed for a while
    with dask.config.set({"distributed.worker.preload": [str(TOY)]}):
        make_dataset(SPEC, LAYOUT, str(tmp_path / "d"), workers=workers)
    assert contents(tmp_path / "d") == whole


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[3])
import toy_expressions
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
toy_expressions.register()
layout = Layout({"train": 2_050, "valid": 100, "test": 60}, 500)
spec = parse_spec(json.loads(sys.argv[1]))
make_dataset(spec, layout, sys.argv[2], workers=0, on_shard=lambda r, b: print(r.file, flush=True))
"""


def test_killed_runs_resume_to_the_same_bytes(whole: dict[str, bytes], tmp_path: Path) -> None:
    script, url, dice = tmp_path / "make.py", tmp_path / "d", random.Random(0)
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), SPEC.to_json(), str(url), str(TOY.parent)]
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(dice.uniform(0, 0.03))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    make_dataset(SPEC, LAYOUT, str(url), workers=0)
    assert contents(url) == whole


@pytest.mark.parametrize("missing_file", ["train/00000.parquet", "__records/valid/00001.json", "test/00000.parquet"])
def test_only_missing_shards_are_built(whole: dict[str, bytes], tmp_path: Path, missing_file: str) -> None:
    url = tmp_path / "whole"
    (url / missing_file).unlink()
    (url / "manifest.json").unlink()
    result = make_dataset(SPEC, LAYOUT, str(url), workers=0)
    assert result.built_rows == {"train": 500, "valid": 40, "test": 40}[missing_file.split("/")[-2]]
    assert contents(url) == whole


def test_growing_keeps_finished_shards(whole: dict[str, bytes], tmp_path: Path) -> None:
    url = tmp_path / "whole"
    larger = Layout({"train": 3_000, "valid": 100, "test": 140}, 500)
    result = make_dataset(SPEC, larger, str(url), workers=0)
    assert result.built_rows == 1_000 + 100  # train 4 and 5, test 1 to 3
    make_dataset(SPEC, larger, str(tmp_path / "fresh"), workers=0)
    grown = contents(url)
    assert grown == contents(tmp_path / "fresh")
    unchanged_files = [name for name in whole if name.startswith(("train/0000[0-3]", "valid/"))]
    assert all(grown[name] == whole[name] for name in unchanged_files)


def test_extra_splits_use_their_own_rng_stream(toy: ModuleType, tmp_path: Path) -> None:
    longer_spec = SPEC.with_problems(ExpressionSpec(min_operators=10, max_operators=10), 100)
    layout = Layout({"train": 300, "valid": 10, "test": 10, "test-long": 30, "test-same": 10}, 500)
    make_dataset(SPEC, layout, str(tmp_path / "d"), split_specs={"test-long": longer_spec}, workers=0)
    long = rows_of(tmp_path / "d", "test-long")
    assert set(long.problems.lengths.tolist()) == {11} and in_split(sequence_hash(long.problems), "test").all()
    again = rows_of(tmp_path / "d", "test-same").problems.to_list()
    assert not set(again) & set(rows_of(tmp_path / "d", "test").problems.to_list()), "a stream of its own"
    assert verify_dataset(str(tmp_path / "d"), workers=0).damage == ()


def test_repeats_are_counted(toy: ModuleType, tmp_path: Path) -> None:
    spec = DatasetSpec(task="toy-reverse", problems=ExpressionSpec(min_operators=2, max_operators=2), chunk_rows=40)
    make_dataset(spec, Layout({"train": 60}, 40), str(tmp_path / "d"), workers=0)
    manifest, rows = read_manifest(str(tmp_path / "d")), rows_of(tmp_path / "d", "train").problems.to_list()
    expected = [40 - len(set(rows[:40])), 20 - len(set(rows[40:]))]
    assert [r.repeats for r in manifest.splits["train"].shards] == expected and sum(expected) > 0
    assert manifest.repeats == sum(expected)
    with pytest.raises(UserError, match="too few distinct problems"):
        make_dataset(spec, Layout({"train": 80}, 40), str(tmp_path / "e"), workers=0)


def rewrite(url: Path, change: Callable[[TokenExamples], TokenExamples], spec_json: str | None = None) -> None:
    """Replace train/00000 by a file of changed rows whose record and manifest agree with it."""
    manifest, storage = read_manifest(str(url)), Storage(str(url))
    rows = next(open_dataset(url).chunks(size=500))
    assert isinstance(rows, TokenExamples)
    with storage.write("train/00000.parquet") as file:
        hashing = HashingFile(file)
        count = TokenFormat({"operators": "int16"}).write(hashing, [change(rows)], spec_json or SPEC.to_json(), "0")
    changed = {"bytes": hashing.bytes, "sha256": hashing.sha256, "rows": count}
    record = manifest.splits["train"].shards[0].model_copy(update=changed)
    record.write(storage)
    train = Split.from_records([record, *manifest.splits["train"].shards[1:]])
    Manifest.model_validate({**manifest.model_dump(), "splits": {**manifest.splits, "train": train}}).write(storage)


def damage_of(url: Path) -> list[str]:
    return [str(d) for d in verify_dataset(str(url), workers=0).damage]


def test_verify_names_wrong_rows(whole: dict[str, bytes], tmp_path: Path) -> None:
    url = tmp_path / "whole"
    assert damage_of(url) == []
    stranger = rows_of(url, "valid").problems[0]

    def wrong(rows: TokenExamples) -> TokenExamples:
        problems, solutions = rows.problems.to_list(), rows.solutions.to_list()
        solutions[3] = solutions[3][:-1]
        problems[5], solutions[5] = stranger, stranger[:1] + stranger[:0:-1]
        solutions[7] = b"\xc8" + solutions[7]
        row = rows.row.copy()
        row[9] = 8
        return TokenExamples(row, Sequences.from_list(problems), Sequences.from_list(solutions), rows.columns)

    rewrite(url, wrong)
    assert damage_of(url) == [
        "train/00000.parquet: row 3: its solution is not correct (wrong_value)",
        "train/00000.parquet: row 5: its problem does not belong to train",
        "train/00000.parquet: row 7: holds an id outside the vocabulary",
        "train/00000.parquet: row 8: is in the wrong position",
    ]


def test_verify_finds_damaged_files(whole: dict[str, bytes], tmp_path: Path) -> None:
    url = tmp_path / "whole"
    rewrite(url, lambda rows: rows, spec_json='{"task":"toy-reverse"}')
    (url / "valid" / "00000.parquet").unlink()
    data = bytearray(whole["test/00000.parquet"])
    data[len(data) // 3] ^= 1
    (url / "test" / "00000.parquet").write_bytes(data)
    damage = damage_of(url)
    assert "train/00000.parquet: its footer names another spec" in damage
    assert "valid/00000.parquet: is missing" in damage
    assert any("test/00000.parquet: its checksum differs" in d for d in damage)


@pytest.mark.parametrize("name", registry.TOKEN_TASKS)
def test_chunks_of_every_task_are_pure_functions(name: str) -> None:
    """The real tasks accept the same pairs whatever splits are requested, and at each repetition."""
    task = registry.TOKEN_TASKS[name]
    spec = DatasetSpec(task=name, problems=task.default_spec, chunk_rows=28)
    together = task.build_chunk(spec, 1, ["train", "valid", "test"])
    for requested_splits in (["valid"], ["test", "train"]):
        for split, alone in task.build_chunk(spec, 1, requested_splits).items():
            assert same(alone.examples, together[split].examples) and alone.rejected == together[split].rejected
    rows = together["train"].examples
    outcomes = task.verify(rows.problems, rows.solutions, rows.solutions).outcome
    assert {task.outcomes[k] for k in outcomes} <= task.correct_outcomes


def test_hash_of_integers_does_not_depend_on_the_batch() -> None:
    """Rows of one length, of several lengths, small and large integers are hashed by different routes to the same value."""
    rows = [[5, 7], [1, 2**40], [-3, 0], [2**63 - 1, -1], [5], [], [5, 7, 9], [0, 0], [2**32 - 1, 2**32]]
    together = sequence_hash(IntegerSequences.from_list(rows)).tolist()
    alone = [int(sequence_hash(IntegerSequences.from_list([row]))[0]) for row in rows]
    assert together == alone and len(set(alone)) == len(rows)
    twice = [[2**63 - 1, 0], [0, 2**63 - 1], [-(2**62), 0], [0, -(2**62)]]
    assert len(set(sequence_hash(IntegerSequences.from_list(twice)).tolist())) == 4
