"""Dataset directories opened with Spark and Ray, where they are installed: splits and rows as in the manifest."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mathpipe.datasets.format.directory import split_folder

pytestmark = pytest.mark.slow
_spec = importlib.util.spec_from_file_location("dataset_readers", Path(__file__).with_name("dataset_readers.py"))
assert _spec is not None and _spec.loader is not None
kinds: ModuleType = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kinds)
ReadRows = Callable[[Path], list[int]]


@pytest.fixture(scope="module")
def spark_rows() -> Iterator[ReadRows]:
    pytest.importorskip("pyspark")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java")
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    yield lambda folder: sorted(row["row"] for row in session.read.parquet(str(folder)).collect())
    session.stop()


@pytest.fixture(scope="module")
def ray_rows() -> Iterator[ReadRows]:
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")  # a busy machine takes longer than the defaults
    os.environ.setdefault("RAY_agent_register_timeout_ms", "300000")
    ray.init(num_cpus=1, include_dashboard=False, configure_logging=False, log_to_driver=False)
    yield lambda folder: sorted(row["row"] for row in ray.data.read_parquet(str(folder)).take_all())
    ray.shutdown()


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # of Spark and Ray, about their own processes
@pytest.mark.parametrize("kind", ["plain", *kinds.KINDS])
@pytest.mark.parametrize("reader", ["spark_rows", "ray_rows"])
def test_split_by_its_path(reader: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    read_rows: ReadRows = request.getfixturevalue(reader)
    manifest = kinds.make_kind(kind, tmp_path / "d")
    for split, part in manifest.splits.items():
        assert read_rows(tmp_path / "d" / split_folder(split)) == list(range(part.rows))
