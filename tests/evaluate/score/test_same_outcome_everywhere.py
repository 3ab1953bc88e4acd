"""Outcome and evidence of an answer are the same in worker processes, threads, daemons, and programs of any kind.

Among the cases are answers that only SymPy decides, in a process of its own: it must start from each of these places.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.infix import parse_infix
from mathpipe.datasets.expressions.prefix import text_to_ids, write
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.evaluate.score import token_verifier
from mathpipe.evaluate.score.scoring import VerifiedAnswers
from mathpipe.evaluate.score.token_verifier import TokenVerifier
from mathpipe.generate.outcomes import EVIDENCE_COUNTS, SYMBOLIC_OUTCOMES
from mathpipe.generate.symbolic.check.sympy_fallback import SymPyProcess
from mathpipe.generate.tasks.task_registry import expression_task

TASK = expression_task("integration-bwd")
TOWER = "exp(exp(exp(exp(50+x**2))))"  # no point has a value
CASES = [  # integrand, answer, outcome, evidence (0 none, 1 proven, 2 enclosed, 3 sampled)
    ("1/x", "ln(abs(x))", "equivalent", 1),
    ("1/sqrt(x**2-1)", "acosh(x)", "real_domain", 2),
    ("1/(2+cos(x))", "2/sqrt(3)*atan(tan(x/2)/sqrt(3))", "equivalent", 1),
    ("cos(x)", "cos(x)", "wrong_value", 1),
    (f"{TOWER}*(ln(exp(x))-x)+1", "x", "equivalent", 3),  # by SymPy, like the next
    (f"{TOWER}*(ln(exp(x))-x)+1", "2*x", "wrong_value", 3),
    (TOWER, f"{TOWER}+x", "undecided", 0),
]
EQUATIONS = [  # equation, solution, outcome, evidence
    ("sub Y' Y", "mul a8 exp x", "equivalent", 1),
    ("sub mul x Y' Y", "mul x exp ln a8", "equivalent", 1),
    ("sub Y' Y", "add mul a8 exp x pow div x INT+ 1 0 0 INT+ 3 0", "partial", 1),
    ("sub Y' mul Y ln Y", "exp mul a8 exp x", "real_domain", 2),
    ("sub Y' Y", "exp x", "particular", 1),
]
PROBLEMS = [bytes([IDS["sub"], IDS["Y'"], *write(parse_infix(f))]) for f, *_ in CASES]
ANSWERS = [bytes(write(parse_infix(answer))) for _, answer, *_ in CASES]
PAIRS = {
    "integration-bwd": (PROBLEMS, ANSWERS),
    "ode1": ([text_to_ids(text) for text, *_ in EQUATIONS], [text_to_ids(text) for _, text, *_ in EQUATIONS]),
}
PAIRS_AS_TEXT = {name: [[ids.hex() for ids in part] for part in pairs] for name, pairs in PAIRS.items()}

VERIFY = f"""
import json
import numpy as np
from mathpipe import get_task
from mathpipe.datasets.containers.ragged_sequences import Sequences

def outcomes_and_evidence():
    results = []
    for name, pairs in {PAIRS_AS_TEXT}.items():
        problems, answers = (Sequences.from_list([bytes.fromhex(text) for text in texts]) for texts in pairs)
        references = Sequences.from_list([b""] * len(problems))
        result = get_task(name).verify(problems, references, answers)
        counts = {{key: np.nan_to_num(values, nan=-1).tolist() for key, values in result.evidence_counts.items()}}
        results.append([result.outcome.tolist(), result.evidence.tolist(), counts])
    return json.dumps(results)
"""


def in_process() -> list[Any]:
    results = []
    for name, pairs in PAIRS.items():
        problems, answers = (Sequences.from_list(part) for part in pairs)
        result = expression_task(name).verify(problems, Sequences.from_list([b""] * len(problems)), answers)
        counts = {key: np.nan_to_num(values, nan=-1).tolist() for key, values in result.evidence_counts.items()}
        results.append([result.outcome.tolist(), result.evidence.tolist(), counts])
    return results


@pytest.fixture(scope="module")
def expected() -> list[Any]:
    return in_process()


def run_program(arguments: list[str], text: str | None = None) -> list[Any]:
    result = subprocess.run([sys.executable, *arguments], input=text, capture_output=True, text=True, check=True)
    return list(json.loads(result.stdout))


def test_the_cases_have_all_kinds_of_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, ask = [], SymPyProcess.is_antiderivative

    def record(self: SymPyProcess, integrand: bytes, predicted: bytes) -> str:
        answers.append(ask(self, integrand, predicted))
        return str(answers[-1])

    monkeypatch.setattr(SymPyProcess, "is_antiderivative", record)
    (outcome, evidence, counts), (ode_outcome, ode_evidence, _) = in_process()
    assert [(SYMBOLIC_OUTCOMES[k], e) for k, e in zip(outcome, evidence, strict=True)] == [case[2:] for case in CASES]
    of_equations = [(SYMBOLIC_OUTCOMES[k], e) for k, e in zip(ode_outcome, ode_evidence, strict=True)]
    assert of_equations == [case[2:] for case in EQUATIONS]
    assert answers == ["equivalent", "wrong_value", "undecided"]
    assert set(counts) == {*EVIDENCE_COUNTS}
    assert counts["points"][1] > 10 and counts["jumps"][2] >= 18


def test_threads(expected: list[Any]) -> None:
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: in_process(), range(3))) == [expected] * 3


def test_program_from_standard_input(expected: list[Any]) -> None:
    assert run_program(["-"], f"{VERIFY}\nprint(outcomes_and_evidence())\n") == expected


def test_script_without_guard(expected: list[Any], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"{VERIFY}\nprint(outcomes_and_evidence())\n")
    assert run_program([str(script)]) == expected


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_daemon_process(method: str, expected: list[Any], tmp_path: Path) -> None:
    """A daemon may have no children of ``multiprocessing``; ``spawn`` is how Windows starts processes."""
    program = """
    import multiprocessing

    def send(pipe):
        pipe.send(outcomes_and_evidence())

    if __name__ == "__main__":
        context = multiprocessing.get_context("{method}")
        here, there = context.Pipe()
        process = context.Process(target=send, args=(there,), daemon=True)
        process.start()
        print(here.recv())
        process.join()
    """
    script = tmp_path / "script.py"
    script.write_text(VERIFY + textwrap.dedent(program).format(method=method))
    assert run_program([str(script)]) == expected


def test_thread_of_a_daemon_process(expected: list[Any], tmp_path: Path) -> None:
    program = """
    import multiprocessing
    from concurrent.futures import ThreadPoolExecutor

    def send(pipe):
        with ThreadPoolExecutor(1) as pool:
            pipe.send(pool.submit(outcomes_and_evidence).result())

    if __name__ == "__main__":
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        context.Process(target=send, args=(there,), daemon=True).start()
        print(here.recv())
    """
    script = tmp_path / "script.py"
    script.write_text(VERIFY + textwrap.dedent(program))
    assert run_program([str(script)]) == expected


def verify(verifier: TokenVerifier) -> VerifiedAnswers:
    problems, answers = Sequences.from_list(PROBLEMS), Sequences.from_list(ANSWERS)
    examples = TokenExamples(np.arange(len(PROBLEMS)), problems, Sequences.from_list([b""] * len(PROBLEMS)), {})
    readable = np.ones(len(PROBLEMS), dtype=bool)
    with verifier.running():
        return verifier.verify(examples, answers, readable, np.zeros(len(PROBLEMS), dtype=bool))


def test_worker_processes_keep_evidence(expected: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are started by ``spawn`` on every system; batches of two predictions."""
    monkeypatch.setattr(token_verifier, "_BATCH_SIZE", 2)
    alone, distributed = verify(TokenVerifier(TASK)), verify(TokenVerifier(TASK, workers=2))
    for result in (alone, distributed):
        counts = {name: np.nan_to_num(values, nan=-1).tolist() for name, values in result.evidence_counts.items()}
        assert [result.outcome.tolist(), result.evidence.tolist(), counts] == expected[0]
    np.testing.assert_array_equal(distributed.passed, alone.passed)
    np.testing.assert_array_equal(distributed.errors["satisfied_fraction"], alone.errors["satisfied_fraction"])


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    program = """
    import os, time
    from mathpipe import get_task
    from mathpipe.evaluate.score.token_verifier import TokenVerifier

    if __name__ == "__main__":
        verifier = TokenVerifier(get_task("integration-bwd"), workers=1)
        with verifier.running():
            print(verifier._pool.submit(os.getpid).result(), flush=True)
            time.sleep(600)
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(program))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
        try:
            parent.communicate(timeout=60)  # the worker holds the other end of the pipe until it ends
        except subprocess.TimeoutExpired:
            os.kill(worker, signal.SIGKILL)
            raise


WITH_WORKERS = f"""
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.evaluate.score import token_verifier

{VERIFY}

def distributed():
    token_verifier._BATCH_SIZE = 4
    verifier = token_verifier.TokenVerifier(get_task("integration-bwd"), workers=1)
    problems, answers = (
        Sequences.from_list([bytes.fromhex(text) for text in texts])
        for texts in ({[text.hex() for text in PROBLEMS]}, {[text.hex() for text in ANSWERS]})
    )
    n = len(problems)
    examples = TokenExamples(np.arange(n), problems, Sequences.from_list([b""] * n), {{}})
    try:
        with verifier.running():
            result = verifier.verify(examples, answers, np.ones(n, dtype=bool), np.zeros(n, dtype=bool))
    except UserError as error:
        return json.dumps([str(error)])
    counts = {{name: np.nan_to_num(values, nan=-1).tolist() for name, values in result.evidence_counts.items()}}
    return json.dumps([result.outcome.tolist(), result.evidence.tolist(), counts])

print(distributed())
"""


@pytest.mark.parametrize("from_standard_input", [False, True])
def test_workers_start_without_a_main_guard(from_standard_input: bool, expected: list[Any], tmp_path: Path) -> None:
    """The workers do not run the program again, and their outcomes are those of this process."""
    script = tmp_path / "script.py"
    script.write_text(WITH_WORKERS)
    result = run_program(["-"], WITH_WORKERS) if from_standard_input else run_program([str(script)])
    assert result == expected[0]
