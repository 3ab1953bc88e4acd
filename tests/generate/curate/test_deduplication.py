"""``dedupe`` keeps the first of equal problems, by split and row, whatever the workers; what it writes is a whole dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import dask
import distributed
import numpy as np
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import ShardRecord
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_import import import_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.curate.deduplication import DUPLICATE, deduplicate
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.execution.shuffle import find_duplicates
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.pipeline.cli import main

TOY = Path(__file__).parents[2] / "toy_expressions.py"
SPEC = DatasetSpec(
    task="toy-reverse", problems=ExpressionSpec(min_operators=3, max_operators=3), chunk_rows=50
)  # 729 problems


def read_problems(url: Path, split: str) -> list[bytes]:
    return [p for chunk in open_dataset(url, split).chunks() for p in chunk.problems.to_list()]  # type: ignore[union-attr]


def first_of_equal(parts: dict[str, list[bytes]]) -> dict[str, list[bytes]]:
    seen: set[bytes] = set()
    return {s: [p for p in problems if not (p in seen or seen.add(p))] for s, problems in parts.items()}  # type: ignore[func-returns-value]


@pytest.fixture
def repeated(toy: ModuleType, tmp_path: Path) -> Path:
    """A dataset of which a third of the rows repeat an earlier problem."""
    layout = Layout({"train": 520, "valid": 30, "test": 30, "test-same": 20}, 100)
    make_dataset(SPEC, layout, str(tmp_path / "d"), workers=0)
    return tmp_path / "d"


def test_deduplicate_keeps_first_occurrence(
    repeated: Path, tmp_path: Path, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    result = deduplicate(str(repeated), str(tmp_path / "e"))
    before = {split: read_problems(repeated, split) for split in open_dataset(repeated).manifest.splits}
    expected = first_of_equal(before)
    assert {split: read_problems(tmp_path / "e", split) for split in before} == expected
    assert result.dropped == {split: len(before[split]) - len(expected[split]) for split in before}
    assert result.dropped["train"] > 50 and result.dropped["test-same"] > 0
    assert result.manifest.splits["train"].rejected == {DUPLICATE: result.dropped["train"]}
    assert verify_dataset(str(tmp_path / "e"), workers=0).damage == ()
    assert open_dataset(tmp_path / "e").spec["deduplicated"] == open_dataset(repeated).manifest.digest
    operators = [c.columns["operators"] for c in open_dataset(tmp_path / "e").chunks()]  # type: ignore[union-attr]
    assert (np.concatenate(operators) == 3).all()
    again = deduplicate(str(repeated), str(tmp_path / "e"))
    assert again == result
    with pytest.raises(UserError, match=r"holds another dataset.*deduplicated"):
        make_dataset(SPEC, Layout({"train": 520}, 100), str(tmp_path / "e"), workers=0)


def test_workers_write_the_same_bytes(
    repeated: Path, tmp_path: Path, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    hashed: dict[int, list[int]] = {0: [], 2: []}
    deduplicate(str(repeated), str(tmp_path / "e"), on_hashed=hashed[0].append)
    assert distributed.__version__
    with dask.config.set({"distributed.worker.preload": [str(TOY)]}):
        deduplicate(str(repeated), str(tmp_path / "f"), workers=2, on_hashed=hashed[2].append)
    assert sorted(hashed[0]) == sorted(hashed[2]) and sum(hashed[0]) == 600
    assert contents(tmp_path / "e") == contents(tmp_path / "f")


def test_deduplicate_resumes_after_interruption(
    repeated: Path,
    tmp_path: Path,
    contents: Callable[[Path], dict[str, bytes]],
) -> None:
    deduplicate(str(repeated), str(tmp_path / "e"))
    shards: list[ShardRecord] = []

    def stop_after_the_second(record: ShardRecord) -> None:
        shards.append(record)
        if len(shards) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deduplicate(str(repeated), str(tmp_path / "f"), on_shard=stop_after_the_second)
    shards.clear()
    deduplicate(str(repeated), str(tmp_path / "f"), on_shard=shards.append)
    assert contents(tmp_path / "e") == contents(tmp_path / "f")
    assert len(shards) == len(list((tmp_path / "e").rglob("*.parquet"))) - 2


def test_damaged_source_raises_and_damaged_copy_is_rebuilt(
    repeated: Path, tmp_path: Path, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    deduplicate(str(repeated), str(tmp_path / "e"))
    whole = contents(tmp_path / "e")
    for name in ("manifest.json", "train/00001.parquet"):  # as verify advises
        (tmp_path / "e" / name).unlink()
    deduplicate(str(repeated), str(tmp_path / "e"))
    assert contents(tmp_path / "e") == whole
    file = repeated / "train" / "00000.parquet"
    data = bytearray(file.read_bytes())
    column = pq.read_metadata(file).row_group(0).column(1)
    data[column.data_page_offset + 60] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"train/00000.parquet is damaged.*`mathpipe verify .*d` lists all damage"):
        deduplicate(str(repeated), str(tmp_path / "f"))
    file.unlink()
    with pytest.raises(UserError, match=r"train/00000.parquet is missing"):
        deduplicate(str(repeated), str(tmp_path / "g"))


def test_deduplicate_omits_empty_shards(toy: ModuleType, tmp_path: Path) -> None:
    line = "1|INT+ 1 2\tINT+ 2 1\n"
    (tmp_path / "train").write_text(line * 5 + "1|INT+ 7\tINT+ 7\n")
    (tmp_path / "valid").write_text("1|INT+ 8\tINT+ 8\n")
    (tmp_path / "test").write_text(line)
    files = {s: [str(tmp_path / s)] for s in ("train", "valid", "test")}
    import_dataset("toy-reverse", files, str(tmp_path / "d"), shard_rows=2)
    result = deduplicate(str(tmp_path / "d"), str(tmp_path / "e"))
    assert [(r.shard, r.first_row, r.rows) for r in result.manifest.splits["train"].shards] == [(0, 0, 1), (1, 1, 1)]
    assert result.manifest.splits["test"].rows == 0 and result.dropped == {"train": 4, "valid": 0, "test": 1}
    assert verify_dataset(str(tmp_path / "e"), workers=0).damage == ()


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("transpose", {"max_coeff": 1e-5, "rows": 1, "cols": 1, "min_dim": 1, "max_dim": 1}),
        ("cotraining", {"max_coeff": 1e-5, "min_dim": 1, "max_dim": 1, "task_tokens": "TA"}),
    ],
)
def test_deduplicate_matrices(tmp_path: Path, task: str, options: dict[str, object]) -> None:
    spec = DatasetSpec(task=task, problems=MatrixSpec.model_validate(options), chunk_rows=500)
    make_dataset(spec, Layout({"train": 1_900, "valid": 60}, 1_000), str(tmp_path / "d"), workers=0)
    result = deduplicate(str(tmp_path / "d"), str(tmp_path / "e"))
    unique_rows: list[tuple[object, ...]] = []
    for url in (tmp_path / "d", tmp_path / "e"):
        rows = [
            (*m.ravel().tolist(), None if chunk.problems.task_ids is None else int(chunk.problems.task_ids[i]))
            for chunk in open_dataset(url).chunks()
            for i, m in enumerate(chunk.problems)
        ]
        unique_rows.append(tuple(dict.fromkeys(rows)))
        assert url.name == "d" or len(rows) == len(unique_rows[-1])
    assert unique_rows[0] == unique_rows[1] and result.dropped["train"] == 1_900 - len(unique_rows[0]) > 0
    assert verify_dataset(str(tmp_path / "e"), workers=0).damage == ()


def test_find_duplicates() -> None:
    parts = [[5, 6, 5], [7, 5], [], [6]]

    def keys(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values = np.array(parts[k], dtype=np.uint64)
        return values, values % np.uint64(2), np.arange(100 * k, 100 * k + len(values))

    assert find_duplicates(keys, range(4)).tolist() == [2, 101, 300]
    assert find_duplicates(keys, []).tolist() == []


def test_dedupe_command(repeated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["dedupe", str(repeated), str(tmp_path / "e"), "--workers", "0"])
    assert not stop.value.code
    assert "of 600 examples, each problem once" in capsys.readouterr().out
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SystemExit) as stop:
        main(["dedupe", str(repeated), str(tmp_path), "--workers", "0"])
    assert stop.value.code == 2 and "holds something else" in capsys.readouterr().err
