"""Dataset directories opened by their paths with Hugging Face datasets, pandas, polars and DuckDB: all splits and rows."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.format.directory import split_folder, split_word
from mathpipe.datasets.format.manifest import Manifest

_spec = importlib.util.spec_from_file_location("dataset_readers", Path(__file__).with_name("dataset_readers.py"))
assert _spec is not None and _spec.loader is not None
kinds: ModuleType = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kinds)
ALL_KINDS = ("plain", *kinds.KINDS)


@pytest.fixture(scope="module", params=ALL_KINDS)
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """(directory, manifest) of a dataset of each kind."""
    folder = tmp_path_factory.mktemp("data") / "d"
    return folder, kinds.make_kind(request.param, folder)


def read_pandas(folder: Path) -> list[dict[str, Any]]:
    import pandas

    return pandas.read_parquet(folder).to_dict("records")  # type: ignore[no-any-return]


def read_polars(folder: Path) -> list[dict[str, Any]]:
    import polars

    return polars.read_parquet(folder).to_dicts()


def read_duckdb(folder: Path) -> list[dict[str, Any]]:
    import duckdb

    cursor = duckdb.connect().execute(f"select * from read_parquet('{folder}/*.parquet') order by row")
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


@pytest.mark.parametrize("read_rows", [read_pandas, read_polars, read_duckdb])
def test_split_by_its_path(dataset: tuple[Path, Manifest], read_rows: Callable[[Path], list[dict[str, Any]]]) -> None:
    folder, manifest = dataset
    for split, part in manifest.splits.items():
        rows = read_rows(folder / split_folder(split))
        assert [row["row"] for row in rows] == list(range(part.rows))
        stored = pq.read_table(folder / part.shards[-1].file).to_pylist()[-1]
        assert {
            name: list(value) if isinstance(stored[name], list) else value for name, value in rows[-1].items()
        } == stored


def test_hugging_face_by_path(dataset: tuple[Path, Manifest], tmp_path: Path) -> None:
    import datasets

    folder, manifest = dataset
    cache = str(tmp_path)
    loaded = datasets.load_dataset(str(folder), cache_dir=cache)
    assert {name: len(rows) for name, rows in loaded.items()} == kinds.main_splits(manifest)
    assert loaded["train"][-1]["row"] == manifest.splits["train"].rows - 1
    extra = kinds.extra_splits(manifest)
    assert datasets.get_dataset_config_names(str(folder)) == ["default", *extra]
    for name, rows in extra.items():
        config = datasets.load_dataset(str(folder), name, cache_dir=cache)
        assert {split: len(part) for split, part in config.items()} == {"test": rows}
        assert ("clean_problem" in config["test"].column_names) == (name == "noisy")


def test_hugging_face_without_the_card(dataset: tuple[Path, Manifest], tmp_path: Path) -> None:
    """The paths alone give the same splits: extra test splits and records are taken for none of them."""
    import datasets

    folder, manifest = dataset
    loaded = datasets.load_dataset("parquet", data_dir=str(folder), cache_dir=str(tmp_path))
    rows = {{"validation": "valid"}.get(name, name): len(part) for name, part in loaded.items()}
    assert rows == kinds.main_splits(manifest)


def test_folders_of_splits_hold_shards_alone(dataset: tuple[Path, Manifest]) -> None:
    folder, manifest = dataset
    for split, part in manifest.splits.items():
        names = sorted(path.name for path in (folder / split_folder(split)).iterdir())
        assert names == [record.file.rsplit("/", 1)[1] for record in part.shards]
        assert len(open_dataset(folder, split)) == part.rows


@pytest.mark.parametrize(
    ("name", "recognised"),
    [
        ("far", None),
        ("far-test", "test"),
        ("eval", "eval"),
        ("dev2", "dev"),
        ("latest", None),
        ("trainable", None),
        ("a_val", "val"),
    ],
)
def test_words_that_name_splits(name: str, recognised: str | None) -> None:
    assert split_word(name) == recognised
