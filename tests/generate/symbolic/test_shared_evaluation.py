"""Answers that are verified together get the outcomes and evidence they get alone; equal nodes are merged, different ones never."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from flint import acb

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree, integer_to_ids, parse, subexpression, text_to_ids, write
from mathpipe.datasets.expressions.vocabulary import IDS, UNARY
from mathpipe.generate.outcomes import PROVEN, SYMBOLIC_OUTCOMES, Verification
from mathpipe.generate.symbolic.check import pair_batches, singular_points
from mathpipe.generate.symbolic.check.antiderivatives import PREFIX, verify_antiderivatives
from mathpipe.generate.symbolic.check.exact.expanded_identity import expand_identities, expand_identity
from mathpipe.generate.symbolic.check.singular_points import critical_points, critical_points_of_each
from mathpipe.generate.symbolic.numeric import ball_batches, balls, common_subexpressions
from mathpipe.generate.symbolic.numeric.array_programs import Program, compile_expressions
from mathpipe.generate.symbolic.numeric.ball_functions import CannotTell, Undefined
from mathpipe.generate.symbolic.numeric.common_subexpressions import eliminate_common_subexpressions, merge_equal_nodes
from mathpipe.generate.symbolic.numeric.points import POINTS
from mathpipe.generate.symbolic.numeric.taylor import FIRST_DERIVATIVES, Complex, evaluate

Prefix = Callable[[str], bytes]
PAIRS = [
    ("2*x", "x**2"),
    ("2*x", "x**2+1"),
    ("2*x", "x**2+x"),
    ("cos(x)", "sin(x) + e**(50*(x-4))"),
    ("sin(x)*cos(x)", "sin(x)**2/2"),
    ("1/sqrt(x**2-1)", "acosh(x)"),
    ("1/(2+cos(x))", "2/sqrt(3)*atan(tan(x/2)/sqrt(3))"),
    ("x", "x**2/2 - abs(x-1/10) + abs(x+1/10)"),
    ("1/x", "ln(abs(x))"),
    ("1/x", "ln(x) + exp(1000)"),
    ("sqrt(x-5)", "2/3*(x-5)**(3/2)"),
    ("sqrt(x-5)", "2/3*(x-5)**(3/2) + x"),
    ("sqrt(-1-x**2)", "x"),
    ("sqrt(-1-x**2)*x", "ln(x)"),
    ("acosh(x)", "x*acosh(x) - sqrt(x-1)*sqrt(x+1)"),
    ("sinh(acosh(x))", "x"),
    ("2*x+1", "x**2+x"),
]


def leaves() -> dict[str, Complex]:
    return {"x": np.stack([POINTS, np.ones(len(POINTS))])}


def random_tree(rng: np.random.Generator, depth: int) -> Tree:
    if depth == 0 or rng.random() < 0.1:
        choices: list[Tree] = [(IDS["x"],), (IDS["x"],), 2, -3, 11, (IDS["pi"],)]
        return choices[rng.integers(6)]
    if rng.random() < 0.4:
        return (IDS[UNARY[rng.integers(len(UNARY))]], random_tree(rng, depth - 1))
    name = ("add", "sub", "mul", "div", "pow", "rac")[rng.integers(6)]
    return (IDS[name], random_tree(rng, depth - 1), random_tree(rng, depth - 1))


def random_expressions(n: int, depth: int = 4) -> Sequences:
    rng = np.random.default_rng(5)
    return Sequences.from_list(write(random_tree(rng, depth)) for _ in range(n))


def columns(result: Verification) -> dict[str, list[float]]:
    counts = {name: np.nan_to_num(values, nan=-1).tolist() for name, values in result.evidence_counts.items()}
    fraction = np.nan_to_num(result.measures["satisfied_fraction"], nan=-1).tolist()
    return {"outcome": result.outcome.tolist(), "evidence": result.evidence.tolist(), "fraction": fraction, **counts}


def verify(pairs: list[tuple[bytes, bytes]]) -> Verification:
    problems = Sequences.from_list(PREFIX + f for f, _ in pairs)
    return verify_antiderivatives(
        problems, Sequences.from_list([b""] * len(pairs)), Sequences.from_list(F for _, F in pairs)
    )


def all_pairs(prefix: Prefix) -> list[tuple[bytes, bytes]]:
    malformed = [(prefix("x"), text_to_ids("add x")), (prefix("x"), b""), (prefix("x"), text_to_ids("Y"))]
    return [*((prefix(f), prefix(F)) for f, F in PAIRS), *malformed]


@pytest.mark.parametrize("rows", [1, 3, 1024])
def test_batches_do_not_change_outcomes(prefix: Prefix, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = all_pairs(prefix)
    alone = [columns(verify([pair])) for pair in pairs]
    monkeypatch.setattr(pair_batches, "_ROWS", rows)
    together = columns(verify(pairs * 2))
    assert {len(values) for values in together.values()} == {2 * len(pairs)}
    assert together == {name: [one[name][0] for one in alone] * 2 for name in together}
    names = {SYMBOLIC_OUTCOMES[int(k)] for k in together["outcome"]}
    assert names >= {"equivalent", "real_domain", "partial", "wrong_value", "malformed"}


def test_batches_hold_all_rows_in_order(prefix: Prefix, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = all_pairs(prefix) * 3
    f, F = (Sequences.from_list(part) for part in zip(*pairs, strict=True))
    monkeypatch.setattr(pair_batches, "_TOKENS", 40)
    parts = list(pair_batches.batches(f, F))
    assert [row for rows, _ in parts for row in range(len(pairs))[rows]] == list(range(len(pairs)))
    assert [s for _, batch in parts for s in batch.primitives.to_list()] == F.to_list()
    assert len(parts) > 5
    assert max(len(batch.f.values) + len(batch.primitives.values) for _, batch in parts if len(batch) > 1) <= 40


def test_no_pairs() -> None:
    assert not len(verify([]).outcome)


def test_merged_nodes_have_the_same_values() -> None:
    sequences = random_expressions(400)
    program = compile_expressions(sequences)
    expected = evaluate(program, FIRST_DERIVATIVES, leaves(), len(POINTS))
    for groups in (None, np.zeros(400, dtype=np.int64), np.arange(400) % 3):
        merged = eliminate_common_subexpressions(program, groups)
        np.testing.assert_allclose(evaluate(merged, FIRST_DERIVATIVES, leaves(), len(POINTS)), expected, rtol=1e-12)
    assert len(eliminate_common_subexpressions(program, np.zeros(400, dtype=np.int64)).token) < 0.7 * len(program.token)


def test_groups_have_leaves_of_their_own() -> None:
    sequences, groups = random_expressions(60), np.arange(60) % 3
    merged = eliminate_common_subexpressions(compile_expressions(sequences), groups)
    x = np.array([0.3, 1.7, -2.2 + 0.5j])
    jets = np.stack([x, np.ones(3)])[:, :, None]
    values = evaluate(merged, FIRST_DERIVATIVES, {"x": jets}, 1)[..., 0]
    alone = evaluate(compile_expressions(sequences), FIRST_DERIVATIVES, {"x": jets[:, :, 0]}, 3)
    np.testing.assert_allclose(values, alone[:, np.arange(60), groups], rtol=1e-12)


def test_expressions_left_out_have_no_nodes() -> None:
    program = compile_expressions(random_expressions(30))
    groups = np.where(np.arange(30) < 20, 0, -1)
    merged, node = merge_equal_nodes(program, groups)
    assert (merged.root[:20] >= 0).all()
    assert (merged.root[20:] == -1).all()
    assert ((node >= 0) == (program.row < 20)).all()
    assert (program.token[program.row < 20] == merged.token[node[program.row < 20]]).all()
    nobody, _ = merge_equal_nodes(program, np.full(30, -1))
    assert not len(nobody.token)


def reference_trees(program: Program, tokens: bytes) -> list[bytes]:
    return [subexpression(tokens, position) if position >= 0 else b"" for position in program.position[program.root]]


@pytest.mark.parametrize("collide", [False, True])
def test_different_nodes_are_never_merged(collide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if collide:  # every node has the same hash
        monkeypatch.setattr(common_subexpressions, "_mix", lambda h: h * np.uint64(0))
    sequences = Sequences.from_list(
        [*random_expressions(100).to_list(), *(integer_to_ids(2**53 + k) for k in range(3))]
    )
    merged = eliminate_common_subexpressions(compile_expressions(sequences), np.zeros(103, dtype=np.int64))
    assert reference_trees(merged, sequences.values.tobytes()) == sequences.to_list()


def test_huge_integers_are_not_taken_for_their_neighbours() -> None:
    n = 2**53
    x = text_to_ids("x")
    f = integer_to_ids(n + 1)
    pairs = [(f, text_to_ids("mul") + integer_to_ids(n + k) + x) for k in range(3)]
    result = verify(pairs)
    assert [SYMBOLIC_OUTCOMES[k] for k in result.outcome] == ["wrong_value", "equivalent", "wrong_value"]
    assert (result.evidence == PROVEN).all()


def test_identities_expanded_together_are_those_expanded_alone(prefix: Prefix) -> None:
    pairs = [(prefix(f), prefix(F)) for f, F in PAIRS]
    n = len(pairs)
    sequences = Sequences.from_list([*(f for f, _ in pairs), *(F for _, F in pairs)])
    together = expand_identities(sequences, compile_expressions(sequences), np.arange(n))
    assert together == [expand_identity(f, F) for f, F in pairs]
    assert expand_identities(sequences, compile_expressions(sequences), np.array([3, 0])) == [together[3], together[0]]


def test_critical_points_of_many_expressions(prefix: Prefix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(singular_points, "_LISTS", 4)
    lists = [[parse(prefix(f)), parse(prefix(F))] for f, F in PAIRS]
    lists += [[parse(prefix(f))] for f in ("1/sin(20*x)", "ln(sin(x)+1/3)/(e**x-2)", "x", "sqrt(cos(9*x))*abs(x-7)")]
    assert critical_points_of_each(lists) == [critical_points(trees) for trees in lists]
    assert critical_points_of_each([]) == []


def test_balls_of_many_expressions() -> None:
    sequences = random_expressions(150, depth=3)
    merged = eliminate_common_subexpressions(compile_expressions(sequences), np.arange(150) % 2)
    points = [acb(0.7, 0.4), acb(-1.3)]
    compared = 0
    with balls.precision(64):
        jets = ball_batches.evaluate(merged, sequences.values.tobytes(), FIRST_DERIVATIVES, points)
        for k, jet in enumerate(jets):
            try:
                alone = balls.evaluate(parse(sequences[k]), FIRST_DERIVATIVES, {"x": [points[k % 2], acb(1)]})
            except (Undefined, CannotTell):
                assert jet is None
                continue
            assert str(jet) == str(alone)
            compared += 1
    assert compared > 60


def test_subexpressions() -> None:
    ids = text_to_ids("add mul INT- 1 2 x pow x INT+ 3")
    parts = [subexpression(ids, position) for position in (0, 1, 2, 5, 6, 8)]
    expected = ["add mul INT- 1 2 x pow x INT+ 3", "mul INT- 1 2 x", "INT- 1 2", "x", "pow x INT+ 3", "INT+ 3"]
    assert parts == [text_to_ids(text) for text in expected]
