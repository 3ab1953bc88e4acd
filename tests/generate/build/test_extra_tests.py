"""Extra test splits, each with its own spec, in one dataset: disjoint from training, added at any time, never lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.splits import problem_hash
from mathpipe.generate.tasks.task_registry import parse_spec
from mathpipe.pipeline.config.resolution import ParameterSource
from mathpipe.pipeline.config.stage_parameters import GenerateParams, resolve_generate

BASE = DatasetSpec(task="eigenvalues", problems=MatrixSpec(min_dim=3, max_dim=3), chunk_rows=500)
EXTRA_SPECS = {"test-laplace": BASE.with_problems(MatrixSpec(min_dim=3, max_dim=3, spectrum=("laplace",)), 500)}
LARGE = {"test-large": BASE.with_problems(MatrixSpec(min_dim=6, max_dim=6), 200)}
NOISY = {"test-noisy": BASE.with_problems(MatrixSpec(min_dim=3, max_dim=3, noise=0.05), 500)}
SIZES = {"train": 1_000, "valid": 200, "test": 200}


def build(url: Path, extra: dict[str, DatasetSpec], **arguments: object) -> object:
    cuts = {split: 400 for split in extra if split == "test-large"}
    layout = Layout({**SIZES, **dict.fromkeys(extra, 300)}, 500, cuts)
    return make_dataset(BASE, layout, str(url), split_specs=extra, workers=0, **arguments)  # type: ignore[arg-type]


def test_extra_splits_follow_their_specs(tmp_path: Path) -> None:
    build(tmp_path / "d", EXTRA_SPECS | LARGE | NOISY)
    assert verify_dataset(str(tmp_path / "d"), workers=0).damage == ()
    large = next(open_dataset(tmp_path / "d", "test-large").chunks())
    assert large.problems.shape == (6, 6)
    assert next(open_dataset(tmp_path / "d", "test-noisy").chunks()).clean is not None
    assert next(open_dataset(tmp_path / "d", "test").chunks()).clean is None
    manifest = read_manifest(str(tmp_path / "d"))
    assert {split: spec["problems"]["spectrum"] for split, spec in manifest.split_specs.items()} == {
        "test-laplace": ["laplace"],
        "test-large": [],
        "test-noisy": [],
    }


def test_extra_splits_are_disjoint_from_train(tmp_path: Path) -> None:
    build(tmp_path / "d", EXTRA_SPECS | NOISY)
    hashes = {
        split: set(
            np.concatenate([problem_hash(c.problems) for c in open_dataset(tmp_path / "d", split).chunks()]).tolist()
        )
        for split in (*SIZES, *EXTRA_SPECS, *NOISY)
    }
    for split in (*EXTRA_SPECS, *NOISY):
        assert not hashes[split] & (hashes["train"] | hashes["valid"])


def test_adding_an_extra_split_keeps_the_others(tmp_path: Path) -> None:
    build(tmp_path / "d", EXTRA_SPECS)
    rewritten = ("manifest.json", "README.md")
    before = {p: p.read_bytes() for p in (tmp_path / "d").rglob("*") if p.is_file() and p.name not in rewritten}
    digest = open_dataset(tmp_path / "d").digest
    build(tmp_path / "d", EXTRA_SPECS | LARGE)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert open_dataset(tmp_path / "d").digest == digest, "a training run on this dataset can go on"
    with pytest.raises(UserError, match=r"more rows of test-laplace.*--extra-test laplace:\.\.\.,n=\d+\)"):
        build(tmp_path / "d", LARGE)


def test_changed_spec_of_an_extra_split_raises(tmp_path: Path) -> None:
    build(tmp_path / "d", EXTRA_SPECS)
    other = {"test-laplace": BASE.with_problems(MatrixSpec(min_dim=3, max_dim=3, spectrum=("gaussian",)), 500)}
    with pytest.raises(UserError, match=r"test-laplace of another spec.*gaussian.*laplace"):
        build(tmp_path / "d", other)


def params(*flags: str, **values: object) -> GenerateParams:
    return resolve_generate(
        ParameterSource(), {"task": "eigenvalues", "dim": "5", "extra_test": flags or None, **values}
    )


def test_extra_test_flags() -> None:
    generate_params = params("far:spectrum=laplace,semicircle,n=5k", "large:min_dim=6,max_dim=8", "big:max_coeff=100")
    spec = generate_params.dataset_spec()
    specs = generate_params.split_specs(spec)
    assert specs["test-far"].problems.spectrum == ("semicircle", "laplace")
    assert (specs["test-large"].problems.min_dim, specs["test-large"].problems.max_dim) == (6, 8)
    assert specs["test-big"].problems == spec.problems.model_copy(update={"max_coeff": 100.0})
    assert generate_params.layout(spec, "absent").splits == {
        "train": 1_000_000, "valid": 10_000, "test": 10_000, "test-far": 5_000, "test-large": 10_000, "test-big": 10_000,
    }  # fmt: skip
    assert params("far:spectrum=laplace").dataset_spec().fingerprint == params().dataset_spec().fingerprint, (
        "training rows do not depend on test splits"
    )


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("laplace", "is not an extra test split"),
        ("La place:dim=3", "is not an extra test split"),
        ("far:laplace", "is not key=value"),
        ("far:spectrums=laplace", "did you mean spectrum"),
        ("far:seed=3", "unknown parameter generate.extra_test.far.seed"),
        ("far:spectrum=lapalace", "extra_test.far.spectrum"),
        ("far:n=many", "not a count"),
        ("far:rows=2,cols=3", "square"),
        ("test:dim=3", "the split 'test'"),
        ("far-eval:dim=3", "the split 'eval'"),
        ("default:dim=3", "the main configuration"),
    ],
)
def test_invalid_flags_raise(flag: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        generate_params = params(flag)
        generate_params.layout(generate_params.dataset_spec(), "absent")


def test_manifest_round_trip(tmp_path: Path) -> None:
    build(tmp_path / "d", EXTRA_SPECS)
    values = json.loads((tmp_path / "d" / "manifest.json").read_text())
    assert parse_spec(values["split_specs"]["test-laplace"]).fingerprint == EXTRA_SPECS["test-laplace"].fingerprint
