"""docs/reference/formats.md names every column and key of the files that the commands write."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from mathpipe.pipeline.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "formats.md").read_text(encoding="utf-8")
NAMES = set(re.findall(r"`([\w./]+)`", PAGE))
SIZES = "--n 500 --valid 20 --test 20 --workers 0 --quiet"
SMALL = (
    "-S steps=2 -S warmup=1 -S batch=8 -S valid_examples=10 -S eval_every=2 -S log_every=1 -S model.encoder_width=16 "
    "-S model.decoder_width=16 -S model.encoder_heads=2 -S model.decoder_heads=2 -S best_metric=valid_loss --quiet"
)
DATASETS = {
    "matrices": "--task eigenvalues --dim 2 --spectrum semicircle,laplace --noise 0.1 --extra-test far:spectrum=laplace,n=20",
    "vectors": "--task cotraining --dim 2 --task-tokens AF",
    "expressions": "--task integration-bwd --max-operators 4",
    "equations": "--task ode1 --max-operators 3",
    "integers": "--task gcd",
    "bits": "--task xor --bits 8",
}
TRAINED = ("matrices", "expressions", "integers", "bits")


def run(line: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(shlex.split(line))
    assert not end.value.code, line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One dataset of every kind of problem, with runs and evaluations of some."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("formats")
        patch.chdir(path)
        for name, options in DATASETS.items():
            run(f"generate {options} {SIZES} --out data/{name}")
        for name in TRAINED:
            run(f"train --data data/{name} --run runs/{name} {SMALL}")
            run(f"eval --run runs/{name} --limit 10 --verbose --quiet")
        yield path


def unnamed(names: Iterator[str] | list[str] | dict[str, Any]) -> set[str]:
    """Those that the page does not name."""
    return set(names) - NAMES


def json_of(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


@pytest.mark.slow
def test_columns_of_examples(folder: Path) -> None:
    for name in DATASETS:
        for shard in (folder / "data" / name).rglob("*.parquet"):
            schema = pq.read_schema(shard)
            assert unnamed(schema.names) == set(), name
            assert unnamed([key.decode() for key in schema.metadata if key != b"ARROW:schema"]) == set()


@pytest.mark.slow
def test_keys_of_datasets(folder: Path) -> None:
    for name in DATASETS:
        manifest = json_of(folder / "data" / name / "manifest.json")
        assert unnamed(manifest) | unnamed(manifest["provenance"]) | unnamed(manifest["spec"]) == set()
        for split in manifest["splits"].values():
            assert unnamed(split) | unnamed(split["shards"][0]) == set()
        log = (folder / "data" / f"{name}.log.jsonl").read_text(encoding="utf-8")
        assert unnamed(json.loads(log.splitlines()[0])) == set()


@pytest.mark.slow
def test_files_and_keys_of_runs(folder: Path) -> None:
    for name in TRAINED:
        run_folder = folder / "runs" / name
        files = [f"{path.name}/" if path.is_dir() else path.name for path in run_folder.iterdir()]
        assert unnamed(files) == set()
        summary = json_of(run_folder / "summary.json")
        assert unnamed(json_of(run_folder / "run.json")) | unnamed(summary) | unnamed(summary["metrics"]) == set()
        for line in (run_folder / "curves.jsonl").read_text(encoding="utf-8").splitlines():
            assert unnamed(json.loads(line)) == set()


@pytest.mark.slow
def test_files_columns_and_keys_of_evaluations(folder: Path) -> None:
    for name in TRAINED:
        (evaluation,) = (folder / "runs" / name / "evaluation").iterdir()
        files = [f"{path.name}/" if path.is_dir() else path.name for path in evaluation.iterdir()]
        assert unnamed(files) == set()
        assert unnamed(pq.read_schema(evaluation / "predictions.parquet").names) == set(), name
        assert unnamed(json_of(evaluation / "metrics.json")) == set(), name
