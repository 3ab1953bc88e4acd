"""``verify`` detects damage, names the rows, and reports nothing for an intact dataset."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.example_formats import MatrixFormat
from mathpipe.datasets.format.fingerprint import spec_fingerprint
from mathpipe.datasets.format.manifest import Manifest, ShardRecord, Split, read_manifest
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.format.shard_writer import SPEC_KEY
from mathpipe.datasets.io.storage import HashingFile, Storage
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.tasks.matrix_task import matches_to_float32


@pytest.fixture
def inverses(make_small) -> Path:
    return make_small("inverse", train=1_500)


def damage_of(url: Path) -> list[str]:
    return [str(d) for d in verify_dataset(str(url), workers=0).damage]


def test_valid_datasets_have_no_damage(inverses: Path, make_small) -> None:
    assert verify_dataset(str(inverses), workers=0).rows == 2_500
    assert damage_of(inverses) == []
    assert damage_of(make_small("transpose", min_dim=1, max_dim=5, rectangular=True)) == []
    assert damage_of(make_small("inverse", round_problems=False, entries="gaussian")) == []


def test_verify_with_workers(inverses: Path) -> None:
    (inverses / "valid" / "00000.parquet").unlink()
    assert [str(d) for d in verify_dataset(str(inverses), workers=2).damage] == damage_of(inverses) != []


def test_verify_finds_flipped_byte(inverses: Path) -> None:
    file = inverses / "train" / "00001.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.write_bytes(data)
    assert any("train/00001.parquet: its checksum differs" in d for d in damage_of(inverses))


def test_verify_finds_missing_and_truncated_shards(inverses: Path) -> None:
    (inverses / "test" / "00000.parquet").unlink()
    file = inverses / "train" / "00000.parquet"
    file.write_bytes(file.read_bytes()[:5_000])
    damage = damage_of(inverses)
    assert "test/00000.parquet: is missing" in damage
    assert any(d.startswith("train/00000.parquet: holds 5,000 bytes, its record says") for d in damage)
    assert any(d.startswith("train/00000.parquet: cannot be read") for d in damage)


def test_verify_finds_unlisted_file(inverses: Path) -> None:
    (inverses / "train" / "00007.parquet").write_bytes(b"?")
    assert damage_of(inverses) == ["train/00007.parquet: is not listed in the manifest"]


def rewrite(url: Path, change: Callable[[MatrixExamples], MatrixExamples], spec_json: str | None = None) -> None:
    """Replace train/00000 by a file of changed rows whose record and manifest agree with it: only the mathematics is wrong."""
    manifest, storage = read_manifest(str(url)), Storage(str(url))
    data = open_dataset(url)
    rows = list(data.chunks(size=500, stop=1_000))
    spec = spec_json or pq.read_metadata(url / "train" / "00000.parquet").metadata[SPEC_KEY].decode()
    with storage.write("train/00000.parquet") as file:
        hashing = HashingFile(file)
        count = MatrixFormat(500).write(hashing, [change(rows[0]), *rows[1:]], spec, "0")
    record = (
        manifest.splits["train"]
        .shards[0]
        .model_copy(update={"bytes": hashing.bytes, "sha256": hashing.sha256, "rows": count})
    )
    record.write(storage)
    train = Split.from_records([record, *manifest.splits["train"].shards[1:]])
    Manifest.model_validate({**manifest.model_dump(), "splits": {**manifest.splits, "train": train}}).write(storage)


def test_verify_names_rows_of_wrong_solutions(inverses: Path) -> None:
    def wrong(rows: MatrixExamples) -> MatrixExamples:
        values = rows.solutions.values.copy()
        values[9 * 3 + 4] *= 1.00001
        values[9 * 77] += 1
        return MatrixExamples(rows.row, rows.problems, Matrices(values, rows.solutions.rows, rows.solutions.cols))

    rewrite(inverses, wrong)
    assert damage_of(inverses) == ["train/00000.parquet: rows 3, 77: its solution is wrong"]


def test_verify_finds_wrong_solution_shape(inverses: Path) -> None:
    def wrong(rows: MatrixExamples) -> MatrixExamples:
        shape = rows.solutions.rows.copy(), rows.solutions.cols.copy()
        shape[0][5], shape[1][5] = 1, 9
        return MatrixExamples(rows.row, rows.problems, Matrices(rows.solutions.values, *shape))

    rewrite(inverses, wrong)
    assert damage_of(inverses) == ["train/00000.parquet: row 5: its solution is wrong"]


def test_verify_finds_rows_of_another_split_or_position(inverses: Path) -> None:
    stranger = next(open_dataset(inverses, "valid").chunks(size=1))

    def wrong(rows: MatrixExamples) -> MatrixExamples:
        keep = rows.take(np.arange(1, len(rows)))
        problems, solutions = (
            Matrices.concatenate([getattr(part, side) for part in (stranger, keep)])
            for side in ("problems", "solutions")
        )
        row = rows.row.copy()
        row[9] = 8
        return MatrixExamples(row, problems, solutions)

    rewrite(inverses, wrong)
    assert damage_of(inverses) == [
        "train/00000.parquet: row 0: its problem does not belong to train",
        "train/00000.parquet: row 8: is in the wrong position",
    ]


def test_verify_finds_unsolvable_problem(inverses: Path) -> None:
    def wrong(rows: MatrixExamples) -> MatrixExamples:
        values = rows.problems.values.copy()
        values[:9] = 2.0
        return MatrixExamples(rows.row, Matrices(values, rows.problems.rows, rows.problems.cols), rows.solutions)

    rewrite(inverses, wrong)
    assert any("row 0: its problem has no trusted solution" in d for d in damage_of(inverses))


def test_verify_finds_footer_of_another_spec(inverses: Path) -> None:
    rewrite(inverses, lambda rows: rows, spec_json='{"task":"inverse"}')
    assert damage_of(inverses) == ["train/00000.parquet: its footer names another spec"]


def test_verify_finds_missing_rows(inverses: Path) -> None:
    rewrite(inverses, lambda rows: rows.take(np.arange(499)))
    assert any("is in the wrong position" in d or "does not" in d or "continue" in d for d in damage_of(inverses))


def test_verify_errors(inverses: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no complete dataset"):
        verify_dataset(str(tmp_path), workers=0)
    manifest = json.loads((inverses / "manifest.json").read_text())
    manifest["spec"]["version"] = 99
    manifest["fingerprint"] = spec_fingerprint(manifest["spec"])
    for split in manifest["splits"].values():
        split["shards"] = [{**record, "fingerprint": manifest["fingerprint"]} for record in split["shards"]]
    (inverses / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="another version of the generator"):
        verify_dataset(str(inverses), workers=0)


def test_matches_to_float32_is_tight() -> None:
    """One and a half units of float32, no more: a value off by 1e-6 of itself is wrong."""
    expected = Matrices.from_dense([[[1.0, 1e-3]]])
    for factor, right in [(1, True), (1 + 1e-7, True), (1 + 1e-6, False)]:
        assert matches_to_float32(expected.values * factor, expected, 1e-9).tolist() == [right]


def test_records_are_strict() -> None:
    with pytest.raises(ValueError):
        ShardRecord.model_validate({"split": "train", "shard": -1})


def test_a_shard_under_the_name_of_another_split_names_the_file(addition: Path, tmp_path: Path) -> None:
    shutil.copytree(addition, tmp_path / "d")
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    manifest["splits"]["tast"] = manifest["splits"].pop("test")
    (tmp_path / "d" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        UserError, match=rf"{tmp_path}/d/manifest.json cannot be read.*splits.tast holds shard 0 of test"
    ):
        verify_dataset(str(tmp_path / "d"))


def test_a_changed_fingerprint_names_the_file(addition: Path, tmp_path: Path) -> None:
    shutil.copytree(addition, tmp_path / "d")
    text = (tmp_path / "d" / "manifest.json").read_text()
    (tmp_path / "d" / "manifest.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(UserError, match=rf"{tmp_path}/d/manifest.json cannot be read.*fingerprint of the spec differs"):
        verify_dataset(str(tmp_path / "d"))
