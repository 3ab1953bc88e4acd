"""Expressions on the command line: generate, show, verify, export; flags of other problem types are rejected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.pipeline.cli import main
from mathpipe.pipeline.commands.generate import count_rejected
from mathpipe.pipeline.config.resolution import ParameterSource
from mathpipe.pipeline.config.stage_parameters import resolve_generate


def call(line: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main(line.split())
    return int(exit_info.value.code or 0)


def spec(**flags: object) -> DatasetSpec:
    values = {"task": "toy-reverse", **flags}
    return resolve_generate(ParameterSource(), values).dataset_spec()


def test_absent_flags_take_the_example_of_the_task(toy: ModuleType) -> None:
    assert spec().problems == toy.TASK.default_spec and spec().chunk_rows == 100
    assert spec(min_operators="5", operators="tan:0, div:0.50", family="polynomial", simplify="0.5").problems == (
        toy.TASK.default_spec.model_copy(
            update={"min_operators": 5, "operators": "div:0.5,tan:0", "family": "polynomial", "simplify": 0.5}
        )
    )
    assert spec(operators="div:0,tan:1").fingerprint == spec(operators="tan:1.0,div:0").fingerprint


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"dim": 3}, r"generate.spec.dim: toy-reverse has none.*one of min_operators.*simplify"),
        ({"noise": 0.1, "entries": "gaussian"}, r"generate.spec.noise: toy-reverse has none"),
        ({"task": "add", "max_operators": 3}, r"generate.spec.max_operators: add has none.*did you mean|dim"),
        ({"max_operators": 3}, r"min_operators 4 is above max_operators 3.*give both"),
        ({"max_operators": 99}, r"generate.spec.max_operators is invalid"),
        ({"operators": "dvi:0"}, r"'dvi' is no operator: did you mean div"),
        ({"operators": "div"}, r"names no weight: write operator:weight"),
        ({"operators": "div:-1"}, r"names no weight"),
        ({"operators": "div:0,div:1"}, r"named twice"),
        ({"family": "hyperbolic"}, r"generate.spec.family is invalid.*polynomial"),
        ({"extra_test": ["far:dim=3"]}, r"generate.extra_test.far.dim: toy-reverse has none.*max_operators"),
        ({"task": "toy-revers"}, r"unknown task.*did you mean toy-reverse"),
    ],
)
def test_invalid_flags_are_reported(toy: ModuleType, flags: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        params = resolve_generate(ParameterSource(), {"task": "toy-reverse", **flags})
        params.split_specs(params.dataset_spec())


def test_extra_test_changes_named_parameters(toy: ModuleType) -> None:
    values = {
        "task": "toy-reverse",
        "max_operators": 9,
        "extra_test": ["far:min_operators=12,max_operators=14,operators=div:0,tan:0,n=20"],
    }
    params = resolve_generate(ParameterSource(), values)
    split_spec = params.split_specs(params.dataset_spec())["test-far"]
    assert split_spec.problems == ExpressionSpec(min_operators=12, max_operators=14, operators="div:0,tan:0")
    assert params.layout(params.dataset_spec(), "absent").splits["test-far"] == 20


def test_default_held_out_sizes_follow_train_size(toy: ModuleType) -> None:
    def splits(**flags: object) -> dict[str, int]:
        params = resolve_generate(ParameterSource(), {"task": "toy-reverse", **flags})
        return params.layout(params.dataset_spec(), "absent").splits

    assert splits(n="1k", extra_test=["far:max_operators=9"]) == {
        "train": 1_000,
        "valid": 72,
        "test": 72,
        "test-far": 72,
    }
    assert splits(n="1M") == {"train": 10**6, "valid": 10_000, "test": 10_000}
    assert splits(n="1k", valid="10k", test="0") == {"train": 1_000, "valid": 10_000, "test": 0}


def test_generate_show_verify_export(toy: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "d"
    line = "generate --task toy-reverse --n 300 --valid 20 --test 20 --extra-test far:min_operators=12,max_operators=12,n=10 "
    assert call(f"{line} --seed 7 --out {out} --workers 0") == 0
    output = capsys.readouterr().out
    assert "train 300, valid 20, test 20, test-far 10 examples" in output and "samples rejected" in output
    assert call(f"{line} --seed 7 --out {out} --workers 0 --json") == 0
    assert json.loads(capsys.readouterr().out)["built_rows"] == 0
    assert call(f"verify {out} --workers 0") == 0
    assert "complete and correct, 350 answers" in capsys.readouterr().out

    assert call(f"show {out} -k 1 --tokens") == 0
    output = capsys.readouterr().out
    assert "4 to 8 operators" in output and "problem " in output and "INT+" in output and "operators" in output
    assert call(f"show {out} -k 2 --split test-far --latex --tokens --json") == 0
    examples = json.loads(capsys.readouterr().out)["problems"]
    assert [p["problem"] for p in examples] == [p["solution"][::-1] for p in examples]
    assert all(p["problem_tokens"].startswith("INT+ ") and p["operators"] == 12 for p in examples)

    assert call(f"export {out} --out {tmp_path}/x.txt --split valid") == 0
    lines = (tmp_path / "x.txt").read_text().splitlines()
    assert len(lines) == 20 and all(line.startswith("1|INT+ ") and line.count("\t") == 1 for line in lines)
    assert call(f"export {out} --out {tmp_path}/x.arrow --split valid") == 0
    table = pa.ipc.open_file(pa.memory_map(str(tmp_path / "x.arrow"))).read_all()
    assert table.schema.names == ["row", "problem", "solution", "operators"] and table.num_rows == 20
    capsys.readouterr()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("show {out} --encoding P10", "holds no matrices, so number encodings do not apply"),
        ("export {out} --out {out}.txt --input-encoding P10", "leave --input-encoding out"),
    ],
)
def test_user_errors_are_reported(
    toy: ModuleType, addition: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    call(f"generate --task toy-reverse --n 30 --valid 2 --test 2 --out {tmp_path}/d --workers 0")
    assert read_manifest(str(tmp_path / "d")).task == "toy-reverse"
    assert call(line.format(out=tmp_path / "d", add=addition)) == 2
    assert message in capsys.readouterr().err


def test_train_rejects_number_encodings_for_expressions(
    toy: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(f"generate --task toy-reverse --n 300 --out {tmp_path}/d --workers 0") == 0
    for name in ("input_encoding", "train.output_encoding"):
        assert call(f"train --data {tmp_path}/d --run {tmp_path}/r -S {name}=P10") == 2
        assert f"{tmp_path}/d holds no matrices, so number encodings" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_rejected_samples_are_counted_once(
    toy: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count equals that of the task: of the stream shared by train, valid and test, and of that of each extra test."""
    rejected: list[int] = []

    def pairs(*arguments: object) -> Iterator[object]:
        for batch in toy.pairs(*arguments):
            rejected.append(batch.rejected.total())
            yield batch

    monkeypatch.setattr(toy.TASK, "pairs", pairs)
    line = "generate --task toy-reverse --n 1000 --valid 60 --test 60 --extra-test far:min_operators=12,max_operators=12,n=300 "
    line += "--extra-test long:max_operators=20,n=200 --workers 0 "
    assert call(f"{line} --shard-rows 100 --out {tmp_path}/one-chunk") == 0
    assert f" at least {sum(rejected):,} samples rejected" in capsys.readouterr().out
    assert call(f"{line} --shard-rows 300 --out {tmp_path}/three-chunks") == 0
    exact, bound = sum(rejected) // 2, count_rejected(read_manifest(f"{tmp_path}/three-chunks"))
    assert 0.95 * exact < bound <= exact


def test_tasks_lists_parameters(toy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("tasks --json") == 0
    listed = {task["name"]: task["parameters"] for task in json.loads(capsys.readouterr().out)}
    assert (
        "min_operators" in listed["toy-reverse"]
        and "min_dim" in listed["inverse"]
        and "dim" not in listed["toy-reverse"]
    )


def test_batches_decode_to_sequences(toy: ModuleType, tmp_path: Path) -> None:
    call(f"generate --task toy-reverse --n 300 --valid 20 --test 20 --out {tmp_path}/d --workers 0")
    data = open_dataset(tmp_path / "d", "train", "P10", "FP15")
    with data.batches(32, seed=1) as batches:
        batch = next(batches)
    sources, readings = data.source.decode(batch.target.numpy())
    assert len(sources) == 32 and not readings.any()
    assert batch.source_lengths.tolist() == sources.lengths.tolist()
    assert data.source.format.vocabulary_size == 91 and len(data.source.vocabulary) == 91
