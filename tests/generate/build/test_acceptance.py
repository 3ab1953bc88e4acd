"""Acceptance rates: measured before generation, reported to the user, and refused where a chunk would never fill."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from mathpipe.datasets.errors import UserError
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.chunks.acceptance import MIN_SAMPLES, SMALLEST_RATE, Acceptance
from mathpipe.generate.layout import Layout
from mathpipe.generate.tasks.task_registry import load_task
from mathpipe.pipeline.cli import cli


def generate(tmp_path: Path, task: str, **options: object) -> list[str]:
    """The messages to the user while 50 examples are generated."""
    messages: list[str] = []
    spec = load_task(task).make_spec(options)
    make_dataset(spec, Layout({"train": 50}, 10_000), str(tmp_path / "data"), log=messages.append)
    return messages


def test_rate_of_rejected_problems_is_reported(tmp_path: Path) -> None:
    (message,) = generate(tmp_path, "determinant", dim=10)
    assert message.startswith("determinant: 4.")
    assert (
        "% of 2,000 sampled problems are accepted (rejected: 95" in message
        and "larger than a dataset stores" in message
    )


def test_no_message_where_most_problems_are_accepted(tmp_path: Path) -> None:
    assert generate(tmp_path, "determinant", dim=5) == []


@pytest.mark.parametrize(
    ("task", "options"),
    [("determinant", {"dim": 12}), ("determinant", {"dim": 20}), ("matmul", {"max_coeff": 2e-6})],
)  # fmt: skip
def test_spec_that_rejects_almost_everything_is_refused_at_once(
    tmp_path: Path, task: str, options: dict[str, object]
) -> None:
    with pytest.raises(
        UserError, match=r"almost every sampled problem is rejected.*Got: .*% of .*--max-coeff \(now"
    ) as error:
        generate(tmp_path, task, **options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_expressions_that_are_almost_all_rejected_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be filled.*too long.*longer problems"):
        generate(tmp_path, "integration-bwd", min_operators=15, max_operators=15, max_len=4)


def test_limit_counts_samples() -> None:
    few = Acceptance(0, Counter({"singular": MIN_SAMPLES - 1}))
    few.check("task", "advice")
    enough = Acceptance(
        int(SMALLEST_RATE * MIN_SAMPLES), Counter({"singular": MIN_SAMPLES - int(SMALLEST_RATE * MIN_SAMPLES)})
    )
    enough.check("task", "advice")
    with pytest.raises(UserError, match="advice"):
        Acceptance(0, Counter({"singular": MIN_SAMPLES})).check("task", "advice")
    assert Acceptance(0, Counter()).rate == 1


def test_trial_changes_no_example() -> None:
    """The samples of the trial come from a stream of their own."""
    task = load_task("inverse")
    spec = task.make_spec({"dim": 3})
    before = task.build_chunk(spec, 0, ["train"])["train"].examples
    assert task.acceptance(spec) == task.acceptance(spec)
    after = task.build_chunk(spec, 0, ["train"])["train"].examples
    assert (before.problems.values == after.problems.values).all()  # type: ignore[attr-defined]


@pytest.mark.parametrize("dim", ["1", "20"])
def test_bench_skips_what_it_cannot_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dim: str) -> None:
    tasks = {name: load_task(name) for name in ("transpose", "determinant")}
    monkeypatch.setattr("mathpipe.pipeline.commands.bench.TASKS", tasks)
    arguments = ["bench", "--task", "add", "--dim", dim, "--seconds", "0.01", "--n", "1k", "--workers", "1"]
    result = CliRunner().invoke(cli, [*arguments, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "write and sync to disk" in result.output and "1,000 examples of add" in result.output
    reason = {
        "1": "load and encode (P1000): not measured: transpose: too few",
        "20": "generate determinant: not measured: ",
    }
    assert reason[dim] in result.output
