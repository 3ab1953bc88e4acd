"""Exports, and shards opened by pandas, polars, DuckDB and Hugging Face datasets."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.export_formats import export_arrow, export_text


def test_text_export_matches_examples(addition: Path) -> None:
    data = open_dataset(addition, "train", "P10", "B1999")
    file = io.BytesIO()
    assert export_text(data, file) == 2_000
    lines = file.getvalue().decode().splitlines()
    assert len(lines) == 2_000
    for line, (matrix, solution) in zip(
        lines[:20], ((o, s) for c in data.chunks(20, stop=20) for o, s in zip(c.problems, c.solutions, strict=True)), strict=True
    ):  # fmt: skip
        problem, answer = (text.split() for text in line.split("\t"))
        assert problem[:2] == ["V3", "V6"] and answer[:2] == ["V3", "V3"]
        mantissas = [
            int("".join(problem[k + 1 : k + 4])) * (-1 if problem[k] == "-" else 1) for k in range(2, len(problem), 5)
        ]
        exponents = [int(problem[k + 4][1:]) for k in range(2, len(problem), 5)]
        np.testing.assert_allclose(matrix.reshape(-1), [m * 10.0**e for m, e in zip(mantissas, exponents, strict=True)])
        decoded = [int(answer[k][1:]) * 10.0 ** int(answer[k + 1][1:]) for k in range(2, len(answer), 2)]
        np.testing.assert_allclose(solution.reshape(-1), decoded, rtol=5.1e-3)


def test_text_export_has_no_padding(make_small) -> None:
    data = open_dataset(make_small("transpose", min_dim=1, max_dim=4, rectangular=True), "valid")
    file = io.BytesIO()
    export_text(data, file)
    assert "<" not in file.getvalue().decode()


def test_arrow_export_matches_examples(addition: Path, tmp_path: Path) -> None:
    data = open_dataset(addition)
    with (tmp_path / "x.arrow").open("wb") as file:
        assert export_arrow(data, file) == 2_000
    table = pa.ipc.open_file(pa.memory_map(str(tmp_path / "x.arrow"))).read_all()
    solutions = np.concatenate([c.solutions.values for c in data.chunks()])
    assert np.array_equal(table["solution"].combine_chunks().flatten().to_numpy(), solutions.astype(np.float32))


def first_solution_and_count(addition: Path) -> tuple[list[float], int]:
    examples = next(open_dataset(addition, "train").chunks(1))
    return examples.solutions.values.astype(np.float32).tolist(), 2_000


def test_pandas(addition: Path) -> None:
    import pandas

    frame = pandas.read_parquet(addition / "train")
    solution, count = first_solution_and_count(addition)
    assert len(frame) == count and frame["solution"][0].tolist() == solution


def test_polars(addition: Path) -> None:
    import polars

    frame = polars.read_parquet(addition / "train" / "*.parquet")
    solution, count = first_solution_and_count(addition)
    assert frame.height == count and frame["solution"][0].to_list() == solution


def test_duckdb(addition: Path) -> None:
    import duckdb

    query = f"select count(*), first(solution order by row), max(problem_cols) from '{addition}/train/*.parquet'"
    solution, count = first_solution_and_count(addition)
    assert duckdb.connect().execute(query).fetchone() == (count, solution, 6)


def test_hugging_face_datasets(addition: Path, tmp_path: Path) -> None:
    """Also checks that the folder ``datasets/`` does not shadow their package."""
    import datasets

    dataset = datasets.load_dataset(
        "parquet", data_files={"train": f"{addition}/train/*.parquet"}, cache_dir=str(tmp_path), split="train"
    )
    solution, count = first_solution_and_count(addition)
    assert len(dataset) == count and dataset[0]["solution"] == solution
