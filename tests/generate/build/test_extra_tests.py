"""Extra test splits, each with its own law, in one dataset: disjoint from training, added at any time, never lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.verification import verify_dataset
from mathpipe.generate.layout import Layout
from mathpipe.generate.spec import Law, MatrixLaw
from mathpipe.generate.splits import written_hash
from mathpipe.pipeline.config.resolution import Source, gather, validated
from mathpipe.pipeline.config.schema import GenerateParams

BASE = Law(task="eigenvalues", operands=MatrixLaw(min_dim=3, max_dim=3), block_rows=500)
FAR = {"test-laplace": BASE.with_operands(MatrixLaw(min_dim=3, max_dim=3, spectrum=("laplace",)), 500)}
LARGE = {"test-large": BASE.with_operands(MatrixLaw(min_dim=6, max_dim=6), 200)}
NOISY = {"test-noisy": BASE.with_operands(MatrixLaw(min_dim=3, max_dim=3, noise=0.05), 500)}
SIZES = {"train": 1_000, "valid": 200, "test": 200}


def made(url: Path, extra: dict[str, Law], **arguments: object) -> object:
    cuts = {split: 400 for split in extra if split == "test-large"}
    layout = Layout({**SIZES, **dict.fromkeys(extra, 300)}, 500, cuts)
    return make_dataset(BASE, layout, str(url), split_laws=extra, workers=0, **arguments)  # type: ignore[arg-type]


def test_every_split_follows_its_own_law(tmp_path: Path) -> None:
    made(tmp_path / "d", FAR | LARGE | NOISY)
    assert verify_dataset(str(tmp_path / "d"), workers=0).damage == ()
    large = next(open_dataset(tmp_path / "d", "test-large").chunks())
    assert large.operands.shape == (6, 6)
    assert next(open_dataset(tmp_path / "d", "test-noisy").chunks()).clean is not None
    assert next(open_dataset(tmp_path / "d", "test").chunks()).clean is None
    manifest = read_manifest(str(tmp_path / "d"))
    assert {split: law["operands"]["spectrum"] for split, law in manifest.split_laws.items()} == {
        "test-laplace": ["laplace"],
        "test-large": [],
        "test-noisy": [],
    }


def test_all_are_disjoint_from_training(tmp_path: Path) -> None:
    made(tmp_path / "d", FAR | NOISY)
    hashes = {
        split: set(
            np.concatenate([written_hash(c.operands) for c in open_dataset(tmp_path / "d", split).chunks()]).tolist()
        )
        for split in (*SIZES, *FAR, *NOISY)
    }
    for split in (*FAR, *NOISY):
        assert not hashes[split] & (hashes["train"] | hashes["valid"])


def test_one_is_added_without_touching_the_rest(tmp_path: Path) -> None:
    made(tmp_path / "d", FAR)
    before = {p: p.read_bytes() for p in (tmp_path / "d").rglob("*") if p.is_file() and p.name != "manifest.json"}
    digest = open_dataset(tmp_path / "d").digest
    made(tmp_path / "d", FAR | LARGE)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert open_dataset(tmp_path / "d").digest == digest, "a training run on this dataset can go on"
    with pytest.raises(UserError, match=r"more rows of test-laplace.*--extra-test laplace:\.\.\.,n=\d+\)"):
        made(tmp_path / "d", LARGE)


def test_another_law_under_the_same_name_is_an_error(tmp_path: Path) -> None:
    made(tmp_path / "d", FAR)
    other = {"test-laplace": BASE.with_operands(MatrixLaw(min_dim=3, max_dim=3, spectrum=("gaussian",)), 500)}
    with pytest.raises(UserError, match=r"test-laplace of another law.*gaussian.*laplace"):
        made(tmp_path / "d", other)


def params(*flags: str, **values: object) -> GenerateParams:
    found = gather("generate", Source(), {"task": "eigenvalues", "dim": "5", "extra_test": flags or None, **values})
    return validated(GenerateParams, found, "generate")


def test_flags_are_read() -> None:
    wanted = params("far:spectrum=laplace,semicircle,n=5k", "large:min_dim=6,max_dim=8", "big:max_coeff=100")
    law = wanted.law()
    laws = wanted.split_laws(law)
    assert laws["test-far"].operands.spectrum == ("semicircle", "laplace")
    assert (laws["test-large"].operands.min_dim, laws["test-large"].operands.max_dim) == (6, 8)
    assert laws["test-big"].operands == law.operands.model_copy(update={"max_coeff": 100.0})
    assert wanted.layout(law, "nowhere").splits == {
        "train": 1_000_000, "valid": 10_000, "test": 10_000, "test-far": 5_000, "test-large": 10_000, "test-big": 10_000,
    }  # fmt: skip
    assert params("far:spectrum=laplace").law().digest == params().law().digest, (
        "training rows do not depend on test splits"
    )


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("laplace", "names no extra test split"),
        ("La place:dim=3", "names no extra test split"),
        ("far:laplace", "no key=value"),
        ("far:spectrums=laplace", "did you mean spectrum"),
        ("far:seed=3", "unknown parameter 'seed'"),
        ("far:spectrum=lapalace", "extra_test.far.spectrum"),
        ("far:n=many", "no count"),
        ("far:rows=2,cols=3", "square"),
    ],
)
def test_wrong_flags_are_explained(flag: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        wanted = params(flag)
        wanted.layout(wanted.law(), "nowhere")


def test_the_manifest_round_trips(tmp_path: Path) -> None:
    made(tmp_path / "d", FAR)
    values = json.loads((tmp_path / "d" / "manifest.json").read_text())
    assert Law.model_validate(values["split_laws"]["test-laplace"]).digest == FAR["test-laplace"].digest
