"""Right and wrong antiderivatives, and the evidence of each outcome."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import parse, text_to_ids
from mathpipe.generate.outcomes import EVIDENCE, SYMBOLIC_OUTCOMES, Verification
from mathpipe.generate.symbolic.check.antiderivatives import (
    PREFIX,
    check_large_arguments,
    is_antiderivative,
    verify_antiderivatives,
)
from mathpipe.generate.symbolic.check.point_checks import PairPoints
from mathpipe.generate.symbolic.check.sympy_fallback import SymPyProcess
from mathpipe.generate.tasks.task_registry import token_task

Prefix = Callable[[str], bytes]


def verify(prefix: Prefix, cases: list[tuple[str, str]]) -> Verification:
    problems, predicted = ([prefix(text) for text in column] for column in zip(*cases, strict=True))
    references = Sequences.from_list([b""] * len(cases))
    return verify_antiderivatives(
        Sequences.from_list([PREFIX + f for f in problems]), references, Sequences.from_list(predicted)
    )


def outcome_and_evidence(prefix: Prefix, f: str, primitive: str) -> tuple[str, str]:
    result = verify(prefix, [(f, primitive)])
    return SYMBOLIC_OUTCOMES[result.outcome[0]], EVIDENCE[result.evidence[0]]


WRONG = [
    # beyond the points near zero
    ("x", "x**2/2 + sqrt((x-3)**2) + x"),
    ("x", "x**2/2 + abs(x-3) + x"),
    ("x", "x**2/2 - abs(x - 1/10) + abs(x + 1/10)"),
    ("x", "x**2/2 + (x/10)**30"),
    ("x", "x**2/2 + (1 + sign(x-3))*exp(x)"),
    ("cos(x)", "sin(x) + exp(50*(x-4))"),
    ("3*x**2", "x**3 + exp(-1000*(x-5)**2)"),
    ("x", "x**2/2 + sqrt((x-17)**2) + x"),
    ("x", "x**2/2 + abs(x+41) - x"),
    ("x", "x**2/2 + abs(x**2 - 900) - x**2"),
    ("2*x", "abs(x**2 - 10000) + 2*x**2"),
    ("1", "asin(sin(x))"),
    ("1", "x + acos(cos(x/20)) - x/20"),
    ("1", "2*atan(tan(x/2)) + abs(x-30) - x"),
    ("cos(x)", "sin(x) + (x/40)**50"),
    ("exp(x)", "exp(x) + (1 - sign(x+7))*x"),
    ("x", "x**2/2 + sqrt((x**2-25)**2) + x**2"),
    # narrow
    ("x", "x**2/2 - abs(x - 1) + abs(x - 1001/1000)"),
    ("x", "x**2/2 - abs(x - 20) + abs(x - 2001/100)"),
    ("x", "x**2/2 - sqrt((x - 1/50)**2) + sqrt((x + 1/50)**2)"),
    ("1", "x + exp(-500*(x+6)**2)"),
    ("x", "x**2/2 + 1/(1 + 10**12*(x-8)**2)"),
    # small
    ("x", "x**2/2 + x/10**12"),
    ("cos(x)", "sin(x) + ln(x)/10**15"),
    ("x", "x**2/2 + x**3/10**30"),
    ("exp(x)", "exp(x)*(1 + 1/10**20)"),
    ("sin(x)", "-cos(x) + x/10**38"),
    ("1/x", "ln(x)*(10**16 + 1)/10**16"),
    ("x", "x**2*(1/2 + 1/10**18)"),
    # beside something large
    ("10**11*exp(x) + 1", "10**11*exp(x)"),
    ("10**11*cos(x)", "10**11*sin(x) + x"),
    ("10**20*x + sin(x)", "10**20*x**2/2 - sin(x)"),
    ("exp(100)*x + 1", "exp(100)*x**2/2"),
    ("10**15*tan(x)**2 + x", "10**15*(tan(x) - x) + x**3"),
    ("cosh(40)*cos(x)", "cosh(40)*sin(x) + ln(x)"),
    # constants beyond 10^4 under a function
    ("sqrt(10001)", "sqrt(10001)*sqrt(x**2)"),
    ("ln(20000)*x", "ln(20000)*x**2/2 + sqrt(x**2) - x"),
    ("exp(20000)", "exp(20000)*abs(x)"),
    ("sin(123456)*x", "sin(123456)*x**2/2 + abs(x) - x"),
    ("atan(50000)", "atan(50000)*sqrt(x**2)"),
    # undefined, or complex where the integrand is real
    ("x", "x**2/2 + 0*ln(x - x)"),
    ("x", "x**2/2 + sqrt(x-100)"),
    ("2*x", "x**2 + abs(sqrt(x-100))*0 + x*0"),
    ("x", "abs(x)*x/2"),
    ("1/x", "ln(x**2)"),
    ("1/sqrt(x**2-1)", "2*acosh(x)"),
    ("0", "x"),
    ("sin(x)**2 + cos(x)**2 - 1", "x/10**25"),
]


@pytest.mark.parametrize(("f", "primitive"), WRONG)
def test_wrong_primitives_are_convicted(prefix: Prefix, f: str, primitive: str) -> None:
    outcome, evidence = outcome_and_evidence(prefix, f, primitive)
    assert outcome in ("wrong_value", "partial")
    assert evidence == "proven"


@pytest.mark.parametrize(
    ("f", "primitive"),
    [
        ("x", "x**2/2 + 0/(sqrt((x-3)**2) - (x-3))"),  # undefined for x > 3, which no number of digits shows
        ("x", "x**2/2 + 0*ln(ln(x**2) - 2*ln(x))"),
        ("x", "x**2/2 + 0/(asin(sin(x)) - x)"),
    ],
)
def test_undefined_in_disguise_is_not_accepted(prefix: Prefix, f: str, primitive: str) -> None:
    assert outcome_and_evidence(prefix, f, primitive)[0] not in ("exact", "equivalent", "real_domain")


RIGHT = [
    # overflow
    ("1/x", "ln(x) + exp(1000)", "equivalent"),
    ("tanh(300*x)", "ln(cosh(300*x))/300", "equivalent"),
    ("1/(1 + exp(-400*x))", "ln(1 + exp(400*x))/400", "equivalent"),
    ("1", "ln(exp(400*x)*exp(-399*x))", "equivalent"),
    ("2000*x*exp(1000*x**2)", "exp(1000*x**2)", "equivalent"),
    ("cos(x)", "sin(x) + exp(exp(50))", "equivalent"),
    ("1/cosh(200*x)**2", "tanh(200*x)/200", "equivalent"),
    ("exp(-700*x)", "-exp(-700*x)/700", "equivalent"),
    ("sinh(500*x)", "cosh(500*x)/500", "equivalent"),
    ("x**200", "x**201/201", "equivalent"),
    ("10**300*x", "10**300*x**2/2", "equivalent"),
    # zero by cancellation
    ("sin(x)**2 + cos(x)**2 - 1", "5", "equivalent"),
    ("cosh(x)**2 - sinh(x)**2 - 1", "pi", "equivalent"),
    ("tan(x)*cos(x) - sin(x)", "0", "equivalent"),
    ("0", "exp(7)", "equivalent"),
    ("exp(x)*exp(-x) - 1", "2", "equivalent"),
    # other forms
    ("1/x", "ln(abs(x))", "equivalent"),
    ("1/x", "ln(5*x)", "equivalent"),
    ("2*sin(x)*cos(x)", "-cos(2*x)/2", "equivalent"),
    ("1/sqrt(1+x**2)", "ln(x + sqrt(1+x**2))", "equivalent"),
    ("1/cos(x)", "ln((1+sin(x))/cos(x))", "equivalent"),
    ("1/(x**2-1)", "ln((x-1)/(x+1))/2", "equivalent"),
    ("x**x*(1 + ln(x))", "exp(x*ln(x))", "equivalent"),
    ("abs(x)", "x*abs(x)/2", "equivalent"),
    ("sign(x)", "abs(x)", "equivalent"),
    ("1/(x*(x+1))", "ln(x) - ln(x+1)", "equivalent"),
    ("sqrt(x)", "2*x*sqrt(x)/3", "equivalent"),
    ("x**(1/3)", "3*x**(4/3)/4", "equivalent"),
    ("asin(x)", "x*asin(x) + sqrt(1-x**2)", "equivalent"),
    (
        "1/(x**4+1)",
        "(ln((x**2+sqrt(2)*x+1)/(x**2-sqrt(2)*x+1))/4 + (atan(sqrt(2)*x+1)+atan(sqrt(2)*x-1))/2)/sqrt(2)",
        "equivalent",
    ),
    ("sin(x)**4", "3*x/8 - sin(2*x)/4 + sin(4*x)/32", "equivalent"),
    ("exp(x)*sin(x)", "exp(x)*(sin(x) - cos(x))/2", "equivalent"),
    # jumps at isolated points
    ("1/(2+cos(x))", "2/sqrt(3)*atan(tan(x/2)/sqrt(3))", "equivalent"),
    # right where problem and answer are real
    ("1/sqrt(x**2-1)", "acosh(x)", "real_domain"),
    ("1/(x*ln(x))", "ln(abs(ln(x)))", "real_domain"),
    ("1/sqrt(x**2-9)", "acosh(x/3)", "real_domain"),
    ("1/sqrt(x**2-4)", "2*ln(sqrt(x-2) + sqrt(x+2))", "real_domain"),
    ("1/x", "2*ln(sqrt(x))", "equivalent"),
]


@pytest.mark.parametrize(("f", "primitive", "expected"), RIGHT)
def test_right_primitives_are_accepted(prefix: Prefix, f: str, primitive: str, expected: str) -> None:
    outcome, evidence = outcome_and_evidence(prefix, f, primitive)
    assert outcome == expected
    assert evidence in ("proven", "enclosed", "sampled")


def test_outcomes_do_not_depend_on_the_batch(prefix: Prefix) -> None:
    cases = [*WRONG[:20], *((f, primitive) for f, primitive, _ in RIGHT[:20])]
    together = verify(prefix, cases)
    for i in range(0, len(cases), 7):
        alone = verify(prefix, [cases[i]])
        assert alone.outcome[0] == together.outcome[i]
        assert alone.evidence[0] == together.evidence[i]


@pytest.mark.parametrize(
    ("f", "primitive"),
    [
        ("cos(x)", "sin(x)"),
        ("1/x", "ln(x)"),
        ("exp(x**2)*2*x", "exp(x**2) + 3"),
        ("1/(2+cos(x))", "2/sqrt(3)*atan(tan(x/2)/sqrt(3))"),
        ("1/sqrt(x-1)/sqrt(x+1)", "acosh(x)"),
        ("tanh(300*x)", "ln(cosh(300*x))/300"),
        ("(x + ln(x))**(-1)*(1 + 1/x)", "ln(x + ln(x))"),
    ],
)
def test_identities_are_proven(prefix: Prefix, f: str, primitive: str) -> None:
    assert outcome_and_evidence(prefix, f, primitive) == ("equivalent", "proven")


def test_evidence_records_jumps(prefix: Prefix) -> None:
    result = verify(
        prefix,
        [("1/(2+cos(x))", "2/sqrt(3)*atan(tan(x/2)/sqrt(3))"), ("cos(x)", "sin(x)"), ("-1/(1+x**2)", "atan(1/x)")],
    )
    jumps = result.evidence_counts["jumps"]
    assert jumps[0] >= 18  # at the odd multiples of pi in [-60, 60]
    assert jumps[1:].tolist() == [0, 1]


def test_evidence_of_malformed_predictions_is_none(prefix: Prefix) -> None:
    problems = Sequences.from_list([PREFIX + prefix("cos(x)")])
    result = verify_antiderivatives(problems, problems, Sequences.from_list([b""]))
    assert EVIDENCE[result.evidence[0]] == "none"


PROGRAM = """
    from mathpipe.datasets.expressions.prefix import text_to_ids
    from mathpipe.generate.symbolic.check.sympy_fallback import SymPyProcess
    with SymPyProcess(seconds=60) as process:
        print(process.is_antiderivative(text_to_ids("cos x"), text_to_ids("sin x")))
"""


def test_sympy_answers_a_program_from_standard_input() -> None:
    program = textwrap.dedent(PROGRAM)
    result = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["equivalent"]


def _ask(pipe: Connection) -> None:
    with SymPyProcess(seconds=60) as process:
        pipe.send(process.is_antiderivative(text_to_ids("cos x"), text_to_ids("sin x")))


def test_sympy_answers_a_process_that_may_have_no_children() -> None:
    context = get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_ask, args=(there,), daemon=True)
    process.start()
    assert here.recv() == "equivalent"
    process.join()


def test_points_depend_on_the_texts(prefix: Prefix) -> None:
    f, primitive = parse(prefix("cos(x)")), parse(prefix("sin(x)"))
    a, b = (PairPoints(f, primitive, seed, real_only=False) for seed in (b"a", b"b"))
    assert not {x for x, *_ in a.real} & {x for x, *_ in b.real}
    assert max(abs(x) for x, *_ in a.real) > 50
    assert np.isclose(min(abs(x) for x, *_ in a.real), 0, atol=0.02)


def test_threads_do_not_change_outcomes(prefix: Prefix) -> None:
    cases = [*WRONG[:12], *((f, primitive) for f, primitive, _ in RIGHT[-8:])]
    alone = verify(prefix, cases)
    with ThreadPoolExecutor(3) as pool:
        for together in pool.map(lambda _: verify(prefix, cases), range(3)):
            np.testing.assert_array_equal(together.outcome, alone.outcome)
            np.testing.assert_array_equal(together.evidence, alone.evidence)


def test_checks_of_generation_and_of_stored_pairs_accept_none_of_the_wrong(prefix: Prefix) -> None:
    columns = zip(*((PREFIX + prefix(f), prefix(primitive)) for f, primitive in WRONG), strict=True)
    problems, primitives = (Sequences.from_list(column) for column in columns)
    task = token_task("integration-bwd")
    assert not task.rechecked(problems, primitives).any()
    assert not task.proven(problems, primitives).any()
    accepted = check_large_arguments(problems, primitives, np.ones(len(WRONG), dtype=np.bool_), Counter())
    assert not accepted.any()


def test_checks_of_no_pairs() -> None:
    """A batch of forward integration may hold no pair of the splits that are still open."""
    none = Sequences.from_list([])
    right, reasons = is_antiderivative(none, none)
    assert len(right) == 0 and all(len(mask) == 0 for mask in reasons.values())
    assert len(token_task("integration-fwd").proven(none, none)) == 0
    assert len(token_task("integration-fwd").rechecked(none, none)) == 0
