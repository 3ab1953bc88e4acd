"""What ``mathpipe export`` writes, ``mathpipe import`` reads back to equal examples: every problem type, every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.dataset import Dataset, open_dataset
from mathpipe.datasets.format.examples import concatenate
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.tokenizers.tokenizer import PAD
from mathpipe.evaluate.score.scoring import append_end
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.layout import Layout
from mathpipe.generate.tasks.integer_task import CLASS
from mathpipe.generate.tasks.task_registry import get_task
from mathpipe.pipeline.cli import main

ROWS = 120
ENCODINGS: dict[str, list[Any]] = {
    "matrices": [("P10", "P1000"), ("FP15", "B1999")],
    "integers": [("base10", "base1000"), ("residues9", "base30")],
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "inverse": ("inverse", {"dim": 3}),
    "rectangular": ("add", {"min_dim": 1, "max_dim": 4, "rectangular": True}),
    "unrounded": ("transpose", {"dim": 2, "round_problems": False}),
    "noisy": ("eigenvalues", {"dim": 3, "noise": 0.1}),
    "mixture": ("eigenvalues", {"dim": 3, "spectrum": "laplace,semicircle"}),
    "co-training": ("cotraining", {"dim": 2}),
    "integrals": ("integration-bwd", {"max_operators": 6}),
    "equations": ("ode1", {"max_operators": 6}),
    "bits": ("xor", {"bits": 6}),
    "memory": ("memory", {"bits": 8}),
    "gcd": ("gcd", {"max_int": 5_000}),
}


@pytest.fixture(scope="module", params=CASES)
def generated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated dataset of one kind."""
    name, options = CASES[request.param]
    url = tmp_path_factory.mktemp("data") / request.param
    spec = get_task(name).make_spec(options).model_copy(update={"chunk_rows": 50})
    make_dataset(spec, Layout({"train": ROWS, "valid": 7, "test": 8}, 50), str(url), workers=0)
    return url


def call(*arguments: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main([argument for part in arguments for argument in part.split()])
    assert not stop.value.code


def all_examples(dataset: Dataset) -> Any:
    return concatenate(list(dataset.chunks()))


def assert_equal_matrices(actual: Matrices, expected: Matrices) -> None:
    assert np.array_equal(actual.rows, expected.rows) and np.array_equal(actual.cols, expected.cols)
    assert np.array_equal(actual.values.astype(np.float32), expected.values.astype(np.float32))
    for name in ("task_ids", "spectra"):
        left, right = getattr(actual, name), getattr(expected, name)
        assert (left is None) == (right is None) and (left is None or np.array_equal(left, right)), name


def assert_equal(actual: Any, expected: Any) -> None:
    """Row, problem, solution, and noise-free problem or the task's own columns."""
    assert np.array_equal(actual.row, expected.row)
    if isinstance(expected, MatrixExamples):
        assert_equal_matrices(actual.problems, expected.problems)
        assert_equal_matrices(actual.solutions, expected.solutions)
        assert (actual.clean is None) == (expected.clean is None)
        if expected.clean is not None:
            assert_equal_matrices(actual.clean, expected.clean)
    else:
        assert actual.problems.to_list() == expected.problems.to_list()
        assert actual.solutions.to_list() == expected.solutions.to_list()
        assert actual.columns.keys() == expected.columns.keys()
        for name, values in expected.columns.items():
            assert np.array_equal(actual.columns[name], values) and actual.columns[name].dtype == values.dtype


def as_text_writes(dataset: Dataset, examples: Any) -> Any:
    """The examples as tokens hold them: matrices rounded by the encodings, without what is not tokenized."""
    if not isinstance(examples, MatrixExamples):
        classes = {
            name: values for name, values in examples.columns.items() if name == CLASS
        }  # it follows from the pair
        return type(examples)(examples.row, examples.problems, examples.solutions, classes)
    sides = []
    for tokenizer, matrices in ((dataset.source, examples.problems), (dataset.target, examples.solutions)):
        tokens, lengths = tokenizer.encode(matrices)
        assert PAD not in tokens[:, 0]
        sides.append(tokenizer.decode(append_end(tokens, lengths))[0])
    return MatrixExamples(examples.row, sides[0], sides[1])


def test_arrow_files(generated: Path, tmp_path: Path) -> None:
    for split in ("train", "valid"):
        call(f"export {generated} --split {split} --out {tmp_path}/{split}.arrow")
    task = open_dataset(generated).task
    call(f"import --task {task} --train {tmp_path}/train.arrow --valid {tmp_path}/valid.arrow --out {tmp_path}/d")
    for split in ("train", "valid"):
        assert_equal(all_examples(open_dataset(tmp_path / "d", split)), all_examples(open_dataset(generated, split)))
    assert verify_dataset(str(tmp_path / "d"), workers=0).damage == ()


def test_dataset_directory(generated: Path, tmp_path: Path) -> None:
    task = open_dataset(generated).task
    call(f"import --task {task} --dataset {generated} --out {tmp_path}/d")
    for split in ("train", "valid", "test"):
        assert_equal(all_examples(open_dataset(tmp_path / "d", split)), all_examples(open_dataset(generated, split)))


def test_text_files(generated: Path, tmp_path: Path) -> None:
    data = open_dataset(generated)
    for encodings in ENCODINGS.get(data.problem_type.name, [(None, None)]):
        flags = f"--input-encoding {encodings[0]} --output-encoding {encodings[1]}" if encodings[0] else ""
        name = encodings[0] or "tokens"
        call(f"export {generated} --out {tmp_path}/{name}.txt {flags}")
        check = "--no-check" if "noisy" in generated.name else ""  # the answer is that of the noise-free problem
        call(
            f"import --task {data.task} --train {tmp_path}/{name}.txt --valid {tmp_path}/{name}.txt --notation tokens "
            f"--out {tmp_path}/{name} {flags} {check}"
        )
        exported = open_dataset(generated, "train", *encodings)
        expected = as_text_writes(exported, all_examples(exported))
        assert_equal(all_examples(open_dataset(tmp_path / name, "train")), expected)


def test_without_a_task(generated: Path, tmp_path: Path) -> None:
    """Problems and solutions survive without the task, too."""
    data = open_dataset(generated, "valid")
    call(f"export {generated} --split valid --out {tmp_path}/valid.arrow")
    call(f"import --task none --type {data.problem_type.name} --valid {tmp_path}/valid.arrow --out {tmp_path}/d")
    imported = open_dataset(tmp_path / "d", "valid")
    assert imported.task == f"unverified-{data.problem_type.name}"
    for side in ("problems", "solutions"):
        for actual, expected in zip(*(getattr(all_examples(each), side) for each in (imported, data)), strict=True):
            assert np.array_equal(_array(actual), _array(expected))
    assert verify_dataset(str(tmp_path / "d"), workers=0).damage == ()


def _array(value: Any) -> Any:
    """A matrix as it is stored, or ids."""
    return np.asarray(value, dtype=np.float32) if isinstance(value, np.ndarray) else np.asarray(list(value))
