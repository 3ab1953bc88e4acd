"""``evidence: proven``: every pair is proven, rows depend on the spec alone; what the verifier says of generated pairs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.prefix import ids_to_text
from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.outcomes import EVIDENCE
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.sampling.rng_streams import chunk_generator
from mathpipe.generate.tasks.task_registry import get_task, token_task

TASKS = ("integration-bwd", "integration-fwd", "integration-ibp", "ode1", "ode2")
LAYOUT = Layout({"train": 60, "test": 3}, 20)


def proven_spec(name: str, rows: int = 20) -> DatasetSpec:
    problems = token_task(name).default_spec.replace_options({"evidence": "proven"})
    return DatasetSpec(task=name, problems=problems, chunk_rows=rows)


def contents(url: Path) -> dict[str, bytes]:
    return {str(p.relative_to(url)): p.read_bytes() for p in sorted(url.rglob("*")) if p.is_file()}


def test_default_is_not_part_of_the_fingerprint() -> None:
    assert "evidence" not in DatasetSpec(task="ode1", problems=ExpressionSpec()).to_json()
    assert '"evidence":"proven"' in proven_spec("ode1").to_json()
    plain = DatasetSpec(task="ode1", problems=token_task("ode1").default_spec, chunk_rows=20)
    assert plain.fingerprint != proven_spec("ode1").fingerprint


@pytest.mark.parametrize("name", ["integration-bwd", "ode1"])
def test_every_pair_is_proven_and_counted_in_the_manifest(tmp_path: Path, name: str) -> None:
    make_dataset(proven_spec(name), LAYOUT, str(tmp_path / "d"))
    manifest = read_manifest(str(tmp_path / "d"))
    assert {split: part.evidence for split, part in manifest.splits.items()} == {
        "train": {"proven": 60},
        "test": {"proven": 3},
    }
    examples = get_task(name).build_chunk(proven_spec(name), 0, ["train"])["train"].examples
    evidence = token_task(name).verify(examples.problems, examples.solutions, examples.solutions).evidence
    assert {EVIDENCE[k] for k in evidence} == {"proven"}
    assert verify_dataset(str(tmp_path / "d")).damage == ()


def test_pairs_without_a_proof_are_rejected_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    task = token_task("integration-bwd")

    def proven(problems: Sequences, solutions: Sequences) -> np.ndarray:
        return problems.lengths % 2 == 0

    monkeypatch.setattr(task, "proven", proven)
    spec = proven_spec(task.name)
    chunk = task.build_chunk(spec, 0, ["train"])["train"]
    everything = task.pairs(
        spec.problems, lambda k: chunk_generator(spec.fingerprint, "stream", 0, k), lambda p: np.ones(len(p), bool)
    )
    batch = next(everything)
    proven_pairs = [p for p in batch.problems.to_list() if len(p) % 2 == 0]
    stored = chunk.examples.problems.to_list()
    assert stored == [p for p in proven_pairs if p in set(stored)]
    assert all(len(problem) % 2 == 0 for problem in stored)
    assert chunk.rejected["not proven"] >= 5


def test_verification_of_a_dataset_finds_pairs_without_a_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_dataset(proven_spec("integration-bwd"), Layout({"train": 20}, 20), str(tmp_path / "d"))
    task = token_task("integration-bwd")
    monkeypatch.setattr(task, "proven", lambda problems, solutions: np.arange(len(problems)) != 4)
    (damage,) = verify_dataset(str(tmp_path / "d")).damage
    assert damage.rows == (4,) and damage.what == "its solution is not proven"


def test_tasks_without_proofs_refuse(toy: ModuleType) -> None:
    with pytest.raises(UserError, match="toy-reverse has no proofs"):
        toy.TASK.make_spec({"evidence": "proven"})


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.tasks.task_registry import token_task
problems = token_task("ode1").default_spec.replace_options({{"evidence": "proven"}})
make_dataset(DatasetSpec(task="ode1", problems=problems, chunk_rows=20), Layout({{"train": 60, "test": 3}}, 20), {url!r})
"""


@pytest.mark.slow
def test_rows_depend_on_no_workers_and_no_kill(tmp_path: Path) -> None:
    spec = proven_spec("ode1")
    make_dataset(spec, LAYOUT, str(tmp_path / "whole"), workers=0)
    for workers in (1, 2):
        make_dataset(spec, LAYOUT, str(tmp_path / f"workers-{workers}"), workers=workers)
        assert contents(tmp_path / f"workers-{workers}") == contents(tmp_path / "whole")
    url = tmp_path / "killed"
    script = SCRIPT.format(folder=str(Path(__file__).parents[3]), url=str(url))
    process = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[3])
    while not (url / "__records/train/00000.json").exists():
        assert process.poll() is None, "finished before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (url / "manifest.json").exists()
    make_dataset(spec, LAYOUT, str(url), workers=0)
    assert contents(url) == contents(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_generated_pairs_are_right_as_predictions(name: str, many: int) -> None:
    """MATHPIPE_PAIRS pairs verified as predictions: none is wrong, at most 5 % are only sampled or undecided."""
    task = token_task(name)
    batches = task.pairs(
        task.default_spec, lambda k: np.random.default_rng([21, k]), lambda p: np.ones(len(p), dtype=bool)
    )
    counts: Counter[tuple[str, str]] = Counter()
    wrong: list[str] = []
    while counts.total() < many:
        batch = next(batches)
        verification = task.verify(batch.problems, batch.solutions, batch.solutions)
        outcomes = [task.outcomes[o] for o in verification.outcome]
        counts.update(zip(outcomes, (EVIDENCE[e] for e in verification.evidence), strict=True))
        wrong += [
            f"{outcome}: {ids_to_text(batch.problems[i])} | {ids_to_text(batch.solutions[i])}"
            for i, outcome in enumerate(outcomes)
            if outcome not in ("exact", "real_domain", "undecided", "timeout")
        ]
    print(f"\n{name}: {counts.total():,} pairs, {dict(counts.most_common())}")  # noqa: T201
    assert wrong == []
    weak = sum(n for (_, evidence), n in counts.items() if evidence in ("sampled", "none"))
    assert weak <= 0.05 * counts.total()
