"""Small datasets of every kind, for the tests that open them with other tools."""

from __future__ import annotations

from pathlib import Path

from mathpipe.datasets.format.directory import EXTRA_PREFIX
from mathpipe.datasets.format.manifest import Manifest
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.pipeline.config.resolution import ParameterSource
from mathpipe.pipeline.config.stage_parameters import resolve_generate

_SIZES = {"n": "300", "valid": "20", "test": "20"}
KINDS = {
    "extra tests": {
        "task": "eigenvalues", "dim": "3", **_SIZES,
        "extra_test": ("far:spectrum=laplace,n=15", "noisy:noise=0.05,n=10", "large:dim=5"),
    },
    "mixture": {"task": "cotraining", "dim": "3", **_SIZES},
    "spectra": {"task": "eigenvalues", "dim": "3", "spectrum": "laplace,semicircle", **_SIZES},
    "noise": {"task": "add", "dim": "3", "noise": "0.1", **_SIZES},
    "expressions": {"task": "integration-bwd", "min_operators": "1", "max_operators": "3", **_SIZES},
    "integers": {"task": "gcd", **_SIZES},
}  # fmt: skip


def make_kind(kind: str, folder: Path) -> Manifest:
    """The dataset of a name in ``KINDS``, or the plain one, which has several shards a split."""
    if kind == "plain":
        spec = DatasetSpec(task="add", problems=MatrixSpec(min_dim=3, max_dim=3), chunk_rows=100)
        return make_dataset(
            spec, Layout({"train": 350, "valid": 110, "test": 90}, 100), str(folder), workers=0
        ).manifest
    params = resolve_generate(ParameterSource(), dict(KINDS[kind]))
    spec = params.dataset_spec()
    layout, specs = params.layout(spec, str(folder)), params.split_specs(spec)
    return make_dataset(spec, layout, str(folder), split_specs=specs, workers=0).manifest


def main_splits(manifest: Manifest) -> dict[str, int]:
    """The rows of train, valid and test."""
    return {name: split.rows for name, split in manifest.splits.items() if not name.startswith(EXTRA_PREFIX)}


def extra_splits(manifest: Manifest) -> dict[str, int]:
    """The rows of the extra test splits, by their names without the prefix."""
    splits = manifest.splits.items()
    return {name.removeprefix(EXTRA_PREFIX): split.rows for name, split in splits if name.startswith(EXTRA_PREFIX)}
