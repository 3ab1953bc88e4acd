"""xor and memory: problems, their splits, outcomes of predictions, and equal bytes for equal specs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.outcomes import RowFault, solution_fault
from mathpipe.generate.problem_specs.sequence_spec import BitSpec
from mathpipe.generate.sampling.bits import all_problems, count_problems
from mathpipe.generate.tasks.sequences import memory, xor
from mathpipe.generate.tasks.task_registry import parse_spec, token_task
from mathpipe.generate.tasks.token_task import SequenceTask
from mathpipe.pipeline.cli import main
from mathpipe.pipeline.config.resolution import ParameterSource
from mathpipe.pipeline.config.stage_parameters import GenerateParams, resolve_generate


def params(**flags: object) -> GenerateParams:
    return resolve_generate(ParameterSource(), flags)


def spec(**flags: object) -> DatasetSpec:
    return params(**flags).dataset_spec()


def rows_of(url: Path, split: str) -> TokenExamples:
    return TokenExamples.concatenate(list(open_dataset(url, split).chunks()))  # type: ignore[arg-type]


def make(tmp_path: Path, dataset_spec: DatasetSpec, name: str = "d", **splits: int) -> Path:
    make_dataset(dataset_spec, Layout(splits, 10_000), str(tmp_path / name), workers=0)
    return tmp_path / name


@pytest.fixture(scope="module")
def xor_5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("xor"), spec(task="xor"), train=6_500, valid=69, test=50)


def test_small_space_is_partitioned_and_held_out_problems_are_unique(xor_5: Path) -> None:
    problems = {split: rows_of(xor_5, split).problems.to_list() for split in ("train", "valid", "test")}
    problem_sets = {split: set(those) for split, those in problems.items()}
    assert {split: len(those) for split, those in problem_sets.items()} == {
        "train": 1024 - 69 - 50,
        "valid": 69,
        "test": 50,
    }
    assert len(problems["valid"]) == 69 and len(problems["test"]) == 50
    assert set.union(*problem_sets.values()) == {row.tobytes() for row in all_problems(10)}
    assert read_manifest(str(xor_5)).spec["problems"]["sampling"] == "passes"
    assert read_manifest(str(xor_5)).repeats > 0 and read_manifest(str(xor_5)).splits["valid"].shards[0].repeats == 0


def test_answers_are_the_exclusive_or(xor_5: Path) -> None:
    rows = rows_of(xor_5, "train")
    for problem, solution in zip(rows.problems.to_list()[:500], rows.solutions.to_list(), strict=False):
        assert bytes(a ^ b for a, b in zip(problem[:5], problem[5:], strict=True)) == solution
    assert not verify_dataset(str(xor_5)).damage


@pytest.mark.parametrize("task", ["xor", "memory"])
def test_equal_specs_give_equal_bytes(tmp_path: Path, task: str) -> None:
    dataset_spec = spec(task=task, bits=20)
    first, again = (make(tmp_path, dataset_spec, name, train=300, valid=20, test=20) for name in ("a", "b"))
    for file in sorted(p.relative_to(first) for p in first.rglob("*.*")):
        assert (first / file).read_bytes() == (again / file).read_bytes()
    other = make(tmp_path, spec(task=task, bits=20, seed=1), "c", train=300, valid=20, test=20)
    assert rows_of(first, "train").problems.to_list() != rows_of(other, "train").problems.to_list()
    grown = make(tmp_path, dataset_spec, "e", train=25_000, valid=20, test=20)
    assert rows_of(grown, "train").problems.to_list()[:300] == rows_of(first, "train").problems.to_list()


def test_memory_query_hides_half_of_one_string(tmp_path: Path) -> None:
    rows = rows_of(make(tmp_path, spec(task="memory"), train=60), "train")
    problems = rows.problems.values.reshape(60, 6, 1000)
    solutions = rows.solutions.values.reshape(60, 1000)
    hidden = problems[:, 5] == 2
    assert 0.45 < hidden.mean() < 0.55 and set(np.unique(problems[:, :5])) == {0, 1}
    assert (problems[:, 5] == solutions)[~hidden].all()
    which = (problems[:, :5] == solutions[:, None]).all(axis=2)
    assert (which.sum(axis=1) == 1).all() and len(set(which.argmax(axis=1))) == 5


def test_ambiguous_query_is_rejected(tmp_path: Path) -> None:
    dataset_spec = spec(task="memory", bits=4)
    url = make(tmp_path, dataset_spec, train=500)
    assert read_manifest(str(url)).splits["train"].rejected["ambiguous"] > 100
    rows = rows_of(url, "train")
    assert (memory.TASK.verify(rows.problems, rows.solutions, rows.solutions).outcome == 0).all()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"valid": 70}, r"too few distinct problems for 70 rows of valid.*at most 69.*1,024 distinct"),
        ({"test": 51}, r"at most 50.*1,024 distinct"),
        ({"bits": 1, "valid": 3}, r"4 distinct"),
    ],
)
def test_too_many_held_out_rows_raise(tmp_path: Path, flags: dict[str, int], message: str) -> None:
    generate_params = params(task="xor", n=6500, **flags)
    with pytest.raises(UserError, match=message):
        make_dataset(
            generate_params.dataset_spec(),
            generate_params.layout(generate_params.dataset_spec(), "absent"),
            str(tmp_path / "d"),
            workers=0,
        )


def test_default_held_out_rows_are_all_problems() -> None:
    generate_params = params(task="xor", n=6500)
    assert generate_params.layout(generate_params.dataset_spec(), "absent").splits == {
        "train": 6_500,
        "valid": 69,
        "test": 50,
    }
    larger = params(task="xor", bits=50, n=20_000)
    assert larger.layout(larger.dataset_spec(), "absent").splits == {"train": 20_000, "valid": 10_000, "test": 10_000}
    assert count_problems(10, "train") + count_problems(10, "valid") + count_problems(10, "test") == 1024


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"task": "xor", "max_operators": 3}, "generate.spec.max_operators: xor has none.*bits, masked"),
        ({"task": "xor", "dim": 3}, "generate.spec.dim: xor has none"),
        ({"task": "add", "bits": 3}, "generate.spec.bits: add has none"),
        ({"task": "integration-bwd", "bits": 3}, "generate.spec.bits: integration-bwd has none"),
        ({"task": "xor", "masked": 0.5}, "xor has no hidden bits"),
        ({"task": "memory", "masked": 1.0}, "visible bits"),
        ({"task": "xor", "bits": 0}, "generate.spec.bits is invalid"),
    ],
)
def test_invalid_flags_raise(flags: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        spec(**flags)


PROBLEM = bytes([0, 1, 1, 1, 1, 0])
OUTCOME_CASES = [
    ([1, 0, 1], "exact", 1.0),
    ([1, 0, 0], "wrong_value", 2 / 3),
    ([0, 1, 0], "wrong_value", 0.0),
    ([1, 0], "malformed", 2 / 3),
    ([1, 0, 1, 1], "malformed", 1.0),
    ([1, 0, 2], "malformed", 2 / 3),
    ([], "malformed", 0.0),
    ([200, 0, 1], "malformed", 2 / 3),
]


@pytest.mark.parametrize("task", [xor.TASK, memory.TASK], ids=["xor", "memory"])
def test_outcomes(task: SequenceTask) -> None:
    if task.name == "xor":
        problem = PROBLEM
    else:  # five strings, of which one fits 1?1
        problem = bytes([0, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 1, 0, 1, 2, 1])
    n = len(OUTCOME_CASES)
    problems, predicted = (
        Sequences.from_list([problem] * n),
        Sequences.from_list([prediction for prediction, _, _ in OUTCOME_CASES]),
    )
    references = Sequences.from_list([[1, 0, 1]] * n)
    verification = task.verify(problems, references, predicted)
    assert [task.outcomes[k] for k in verification.outcome] == [name for _, name, _ in OUTCOME_CASES]
    assert verification.measures["bit_accuracy"] == pytest.approx([share for _, _, share in OUTCOME_CASES])
    assert tuple(verification.measures) == task.measures
    alone = [
        int(task.verify(*(s.take(np.array([k])) for s in (problems, references, predicted))).outcome[0])
        for k in range(n)
    ]
    assert alone == verification.outcome.tolist()


def test_wrong_reference_does_not_accept_wrong_prediction() -> None:
    one = Sequences.from_list([PROBLEM])
    verification = xor.TASK.verify(one, Sequences.from_list([[0, 0, 0]]), Sequences.from_list([[0, 0, 0]]))
    assert xor.TASK.outcomes[verification.outcome[0]] == "wrong_value"
    unclear = Sequences.from_list([[0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 2, 2]])  # 2 bits: three strings fit
    verification = memory.TASK.verify(unclear, Sequences.from_list([[0, 0]]), Sequences.from_list([[0, 0]]))
    assert memory.TASK.outcomes[verification.outcome[0]] != "exact"


def run(line: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    return int(stop.value.code or 0)


def test_bit_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x"
    assert run(f"generate --task xor --bits 3 --n 200 --out {out} --workers 0") == 0
    assert "xor, train 200" in capsys.readouterr().out
    assert run(f"show {out} -k 1 --split train --json") == 0
    shown = json.loads(capsys.readouterr().out)["problems"][0]
    a, b = shown["problem"][:3], shown["problem"][3:]
    assert shown["solution"] == "".join(str(int(x != y)) for x, y in zip(a, b, strict=True))
    assert run(f"verify {out}") == 0
    assert run(f"show {out} -k 1 --latex --tokens") == 0
    output = capsys.readouterr().out
    assert "problem   \\mathtt{" in output and "solution tokens: " in output
    assert run(f"show {out} --encoding P10") == 2 and "holds no matrices" in capsys.readouterr().err
    assert run("tasks") == 0
    assert run(f"generate --task xor --bits 4 --n 20 --out {out} --workers 0") == 2
    assert "bits 3" in capsys.readouterr().err


def test_verify_finds_wrong_bits(tmp_path: Path) -> None:
    task = token_task("xor")

    dataset_spec = spec(task="xor", bits=3)
    rows = rows_of(make(tmp_path, dataset_spec, train=50), "train")
    assert not any(mask.any() for mask in task.find_faults(dataset_spec, "train", rows, 0).values())
    values = rows.solutions.values.copy()
    values[0] ^= 1
    values[3] = 3
    damaged = TokenExamples(rows.row, rows.problems, Sequences(values, rows.solutions.lengths))
    wrong = task.find_faults(dataset_spec, "train", damaged, 0)
    assert np.flatnonzero(wrong[solution_fault("wrong_value")]).tolist() == [0]
    assert np.flatnonzero(wrong[RowFault("holds an id outside the vocabulary")]).tolist() == [1]


def test_bit_spec_is_strict() -> None:
    with pytest.raises(ValueError):
        BitSpec.model_validate({"bits": 5, "dim": 3})
    assert parse_spec(json.loads(spec(task="xor").to_json())).fingerprint == spec(task="xor").fingerprint
