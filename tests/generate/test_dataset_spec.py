"""A dataset is a function of its spec: the fingerprint identifies it, chunks evaluate it, the layout only forms shards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.chunks import matrix_chunks
from mathpipe.generate.chunks.chunk_examples import ChunkExamples
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout, default_shard_rows, split_into_shards, whole_chunks
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.splits import belongs_to_split, hash_range, problem_hash, share
from mathpipe.generate.tasks.matrices.inverse import Inverse
from mathpipe.generate.tasks.task_registry import get_task, parse_spec

SMALL = DatasetSpec(task="inverse", problems=MatrixSpec(min_dim=2, max_dim=3), chunk_rows=200)


def build_chunk(spec: DatasetSpec, split: str, chunk: int) -> ChunkExamples:
    return get_task(spec.task).build_chunk(spec, chunk, [split])[split]


def test_fingerprint_depends_on_every_field() -> None:
    specs = [
        SMALL,
        SMALL.model_copy(update={"seed": 1}),
        SMALL.model_copy(update={"task": "transpose"}),
        SMALL.model_copy(update={"chunk_rows": 201}),
        SMALL.model_copy(update={"version": 2}),
        SMALL.model_copy(update={"problems": MatrixSpec(min_dim=2, max_dim=4)}),
        SMALL.model_copy(update={"problems": MatrixSpec(min_dim=2, max_dim=3, round_problems=False)}),
    ]
    assert len({spec.fingerprint for spec in specs}) == len(specs)
    assert parse_spec(json.loads(SMALL.to_json())).fingerprint == SMALL.fingerprint


def test_chunk_is_a_pure_function() -> None:
    first, again = build_chunk(SMALL, "train", 3), build_chunk(SMALL, "train", 3)
    assert np.array_equal(first.examples.problems.values, again.examples.problems.values)
    assert np.array_equal(first.examples.solutions.values, again.examples.solutions.values)
    assert first.examples.row.tolist() == list(range(600, 800))
    other = build_chunk(SMALL, "train", 4)
    assert not np.array_equal(first.examples.problems.values[:50], other.examples.problems.values[:50])


def test_every_row_of_a_chunk_is_accepted() -> None:
    for stream in ("train", "valid", "test", "test-far"):
        rows = build_chunk(SMALL, stream, 0).examples
        assert len(rows) == 200
        assert belongs_to_split(rows.problems, stream, on_grid=True).all()
        solved = get_task("inverse").solve(rows.problems)
        assert not any(mask.any() for mask in solved.rejected.values())
        assert np.array_equal(solved.solutions.values.astype(np.float32), rows.solutions.values)


def test_samples_are_independent_of_rejections() -> None:
    """Reject another set of problems: the examples that are accepted both times are the same, in the same order."""

    class Choosy(Inverse):
        def solve(self, problems: Matrices) -> Solved:
            solved = super().solve(problems)
            return Solved(solved.solutions, {**solved.rejected, "unlucky": problem_hash(problems) % np.uint64(3) == 0})

    plain, fewer = (task.build_chunk(SMALL, 0, ["train"])["train"] for task in (Inverse(), Choosy()))
    assert sum(fewer.rejected.values()) > 50
    hashes = [problem_hash(b.examples.problems).tolist() for b in (plain, fewer)]
    common = [h for h in hashes[0] if h in set(hashes[1])]
    assert hashes[1][: len(common)] == common and len(common) > 50


def test_exhausted_spec_raises() -> None:
    class Refusing(Inverse):
        def solve(self, problems: Matrices) -> Solved:
            return Solved(problems, {"unlucky": np.ones(len(problems), dtype=bool)})

    with pytest.raises(UserError, match="almost every sampled problem is rejected"):
        Refusing().build_chunk(SMALL, 0, ["train"])


def test_rejections_are_counted_by_reason() -> None:
    """1x1 matrices with tiny entries: 1/a is beyond 1e9 for some, and a itself below 1e-7 for others."""
    spec = DatasetSpec(task="inverse", problems=MatrixSpec(min_dim=1, max_dim=1, max_coeff=2e-6), chunk_rows=200)
    chunk = build_chunk(spec, "train", 0)
    assert chunk.rejected.keys() == {matrix_chunks.OUT_OF_RANGE}
    assert chunk.rejected[matrix_chunks.OUT_OF_RANGE] > 5


# --- splits -----------------------------------------------------------------------------------------------------------


def test_splits_partition_the_hash_space() -> None:
    sixteenths = [set(range(*hash_range(split))) for split in ("train", "valid", "test")]
    assert sum(map(len, sixteenths)) == len(set.union(*sixteenths)) == 16
    assert hash_range("test-laplace") == hash_range("test")
    assert [share(s) for s in ("train", "valid", "test")] == [7 / 8, 1 / 16, 1 / 16]
    with pytest.raises(UserError, match="unknown split"):
        hash_range("dev")


def test_hash_is_uniform() -> None:
    problems = get_task("add").sample(np.random.default_rng(0), 100_000, MatrixSpec(min_dim=2, max_dim=2))
    counts = np.bincount((problem_hash(problems, on_grid=True) >> np.uint64(60)).astype(int), minlength=16)
    assert (np.abs(counts - 6250) < 5 * np.sqrt(6250)).all()


def test_equal_problems_have_equal_hashes() -> None:
    """Off-grid values hash as they are written; -0 as 0; other shapes of the same numbers do not."""
    table = [
        ([[3.14, 0.0]], [[3.1409, -0.0]], True),
        ([[3.14, 0.0]], [[3.146, 0.0]], False),
        ([[3.14, 2.0]], [[3.14], [2.0]], False),
        ([[1.0, 2.0]], [[2.0, 1.0]], False),
        ([[1.0, 0.0]], [[1.0]], False),
    ]
    for a, b, equal in table:
        hashes = [int(problem_hash(Matrices.from_list([m]))[0]) for m in (a, b)]
        assert (hashes[0] == hashes[1]) == equal, (a, b)


def test_batch_hash_matches_single_hashes() -> None:
    mixed = get_task("add").sample(np.random.default_rng(0), 60, MatrixSpec(min_dim=1, max_dim=4, rectangular=True))
    together = problem_hash(mixed)
    assert together.tolist() == [int(problem_hash(mixed.take([i]))[0]) for i in range(60)]


FIXED_HASHES = ["ef938e4003d7911c", "72c17873d5a40b4b", "4f0408fa2a8125c5"]


def test_hashes_never_change() -> None:
    """Splits of datasets made by any version of this project must agree: these values must never change."""
    problems = Matrices.from_list([[[1.0]], [[3.14, -2.5], [0.0, 1e-7]], [[123.0, 4.56, -7.89e8]]])
    assert [f"{int(h):016x}" for h in problem_hash(problems)] == FIXED_HASHES


# --- layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "shard", "expected"),
    [
        (25, 10, [(0, 10), (10, 10), (20, 5)]),
        (20, 10, [(0, 10), (10, 10)]),
        (10, 10, [(0, 10)]),
        (3, 10, [(0, 3)]),
        (0, 10, []),
        (1, 1, [(0, 1)]),
    ],
)
def test_split_into_shards(rows: int, shard: int, expected: list[tuple[int, int]]) -> None:
    assert [(s.first_row, s.rows) for s in split_into_shards("train", rows, shard)] == expected


@pytest.mark.parametrize(
    ("requested", "chunk", "rows"),
    [(1_000_000, 10_000, 1_000_000), (14_999, 10_000, 10_000), (15_001, 10_000, 20_000), (1, 10_000, 10_000)],
)
def test_whole_chunks(requested: int, chunk: int, rows: int) -> None:
    assert whole_chunks(requested, chunk) == rows


def test_default_shard_rows() -> None:
    assert [default_shard_rows(n, 10_000) for n in (0, 10_000, 799_999, 800_000, 7_999_999, 8_000_000, 10**9)] == [
        10_000, 10_000, 10_000, 100_000, 100_000, 1_000_000, 1_000_000,
    ]  # fmt: skip


@given(rows=st.integers(0, 1_000), shard=st.integers(1, 300))
def test_shards_cover_every_row_once(rows: int, shard: int) -> None:
    assert [r for s in split_into_shards("x", rows, shard) for r in range(s.first_row, s.first_row + s.rows)] == list(
        range(rows)
    )


def rows_of(url: Path, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    parts = [(c.problems.values, c.solutions.values) for c in open_dataset(url, split).chunks()]
    problems, solutions = zip(*parts, strict=True)
    return np.concatenate(problems), np.concatenate(solutions)


def test_layout_and_growth_keep_every_row(tmp_path: Path) -> None:
    make = lambda name, train, shard: make_dataset(  # noqa: E731
        SMALL, Layout({"train": train, "valid": 100, "test": 100}, shard), str(tmp_path / name), workers=0
    )
    make("small", 450, 200)
    make("large", 1_300, 200)
    make("other", 1_300, 600)
    common = (tmp_path / "small" / "train" / "00000.parquet").stat().st_mtime_ns
    grown = make("small", 1_300, 200)
    assert grown.built_rows == 1_300 - 400
    assert (tmp_path / "small" / "train" / "00000.parquet").stat().st_mtime_ns == common
    large = rows_of(tmp_path / "large")
    for name in ("small", "other"):
        assert all(np.array_equal(a, b) for a, b in zip(rows_of(tmp_path / name), large, strict=True))
    names = [{p.name: p.read_bytes() for p in (tmp_path / d / "train").iterdir()} for d in ("small", "large")]
    assert names[0] == names[1]


def test_splits_are_disjoint(tmp_path: Path) -> None:
    """1x1 problems: so few distinct ones that splits would overlap if they could."""
    spec = DatasetSpec(task="transpose", problems=MatrixSpec(min_dim=1, max_dim=1), chunk_rows=500)
    make_dataset(spec, Layout({"train": 5_000, "valid": 500, "test": 500}, 500), str(tmp_path / "d"), workers=0)
    train, valid, test = (set(rows_of(tmp_path / "d", split)[0]) for split in ("train", "valid", "test"))
    assert not (train & valid or train & test or valid & test)
    assert len(train) > 1_000


def test_too_few_distinct_problems_raises(tmp_path: Path) -> None:
    spec = DatasetSpec(task="transpose", problems=MatrixSpec(min_dim=1, max_dim=1))
    with pytest.raises(UserError, match="14,403 distinct written problems"):
        make_dataset(spec, Layout({"train": 13_000}, 10_000), str(tmp_path / "d"), workers=0)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("exact", [True, False])
def test_noisy_problems_have_clean_solutions(tmp_path: Path, exact: bool) -> None:
    matrix_spec = MatrixSpec(min_dim=2, max_dim=3, noise=0.02, round_problems=exact)
    spec = DatasetSpec(task="inverse", problems=matrix_spec, chunk_rows=200)
    make_dataset(spec, Layout({"train": 300, "valid": 50, "test": 50}, 200), str(tmp_path / "d"), workers=0)
    assert verify_dataset(str(tmp_path / "d"), workers=0).damage == ()
    for rows in open_dataset(tmp_path / "d").chunks():
        assert rows.clean is not None
        assert belongs_to_split(rows.problems, "train", on_grid=True).all()
        relative = np.abs(rows.problems.values - rows.clean.values).mean()
        assert 0.05 < relative < 0.15  # 10 * 0.02 / sqrt 3 = 0.115 standard deviation
        for a, x in zip(rows.clean, rows.solutions, strict=True):
            np.testing.assert_allclose(a @ x, np.eye(len(a)), atol=1e-3)
    schema = pq.read_schema(tmp_path / "d" / "train" / "00000.parquet")
    assert schema.names[1:5] == ["problem", "problem_rows", "problem_cols", "clean_problem"]
