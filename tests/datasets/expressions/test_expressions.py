"""Expressions: the parser is strict and never evaluates anything; every tree survives every notation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy.parsing.sympy_parser import parse_expr

import mathpipe.datasets.expressions.prefix as expressions
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.prefix import Malformed, ids_to_text, parse, text_to_ids, write
from mathpipe.datasets.expressions.sympy_bridge import from_sympy, to_sympy
from mathpipe.datasets.expressions.vocabulary import BINARY, IDS, TOKENS, UNARY
from mathpipe.datasets.rendering.formulas import to_infix, to_latex

ROOT = Path(expressions.__file__).parents[2]

leaves = st.one_of(
    st.integers(-(10**30), 10**30),
    st.sampled_from([(IDS[name],) for name in ("x", "a8", "a9", "pi", "E", "Y", "Y'", "Y''")]),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from([IDS[name] for name in UNARY]), inner),
        st.tuples(st.sampled_from([IDS[name] for name in BINARY]), inner, inner),
    ),
    max_leaves=25,
)


def test_vocabulary_matches_published_order() -> None:
    assert len(TOKENS) == 91
    assert (TOKENS[0], TOKENS[1], TOKENS[2], TOKENS[10], TOKENS[12]) == ("<s>", "</s>", "<pad>", "pi", "x")
    assert len(set(TOKENS)) == 91
    assert TOKENS[-10:] == tuple("0123456789")


@given(trees)
def test_parse_inverts_write(tree: object) -> None:
    assert parse(write(tree)) == tree


@given(st.binary(max_size=60))
def test_parse_raises_only_malformed(ids: bytes) -> None:
    try:
        assert write(parse(ids)) == ids
    except Malformed as error:
        assert str(error)
    assert isinstance(to_infix(ids), str)
    assert isinstance(to_latex(ids), str)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no tokens"),
        ("add x", "lacks operands"),
        ("x x", "2 expressions"),
        ("INT+", "without digits"),
        ("INT+ 0 3", "leading zero"),
        ("INT- 0", "leading zero"),
        ("3", "without a sign"),
        ("x 3", "digits after x"),
        ("f x", "cannot begin an expression"),
        ("<s> x", "cannot begin an expression"),
        ("sin 3", "digits after sin"),
        ("INT+ INT+ 3", "without digits"),
        ("add INT+ 3 x x", "2 expressions"),
        ("INT+ " + "7 " * 41, "41 digits"),
        ("sin " * 201 + "x", "deeper than 200"),
        ("sin " * 5000 + "x", "5001 tokens"),
    ],
)
def test_malformed_message_names_the_reason(text: str, reason: str) -> None:
    with pytest.raises(Malformed, match=re.escape(reason)):
        parse(text_to_ids(text))


@pytest.mark.parametrize(
    "hostile",
    [
        "__import__('os').system('touch /tmp/owned')",
        "().__class__.__bases__[0].__subclasses__()",
        "exec(open('x').read())",
        "add x lambda",
        "x;import os",
        "{x}",
        "%(x)s",
        "sin\x00x",
        "𝐱",
        "add x " + "(" * 10_000,
    ],
)
def test_hostile_text_is_rejected(hostile: str) -> None:
    with pytest.raises((UserError, Malformed)):
        parse(text_to_ids(hostile))


def test_sources_never_evaluate_text() -> None:
    forbidden = re.compile(r"(?<![\w.])(eval|exec|compile)\(|\b(sympify|parse_expr|lambdify)\b|\bsympy\.S\(|\bse\.S\(")
    occurrences = [
        f"{file.relative_to(ROOT)}:{number}"
        for package in ("datasets", "generate", "train", "evaluate", "pipeline")
        for file in (ROOT / package).rglob("*.py")
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if forbidden.search(line) and not line.lstrip().startswith(("#", "Words never", "length")) and "``" not in line
    ]
    assert occurrences == []


def same_value(a: sympy.Expr, b: sympy.Expr) -> bool:
    point = {s: sympy.Rational(37, 100) + k for k, s in enumerate(sorted(a.free_symbols | b.free_symbols, key=str))}
    left, right = (complex(sympy.N(e.subs(point), 30, maxn=200)) for e in (a, b))
    return abs(left - right) <= 1e-9 * max(abs(left), 1e-30)


TEXTS = [
    "add x INT+ 3",
    "mul INT- 1 pow x INT- 1",
    "sub x mul INT- 5 x",
    "sub x sub x INT- 3",
    "mul add x INT+ 2 sqrt ln pow2 x",
    "div x div x INT+ 3",
    "pow pow x INT+ 2 INT+ 3",
    "pow x pow INT+ 2 x",
    "mul INT- 1 add x INT+ 1",
    "pow tan x div INT- 1 INT+ 2",
    "mul x mul pow add INT+ 1 x INT- 2 sin x",
    "mul x pow add INT+ 1 x INT- 2",
    "mul div INT- 1 INT+ 2 x",
    "add x mul INT- 1 mul INT- 1 x",
    "pow INT- 2 x",
    "pow INT- 3 INT+ 2",
    "mul INT- 1 pow x INT+ 2",
    "pow mul INT- 1 x INT+ 2",
    "add x add mul INT- 2 x mul INT- 3 x",
    "inv add x INT+ 1",
    "rac x INT+ 3",
    "mul x mul pow x INT- 1 pow sin x INT- 1",
    "div INT+ 1 mul x add x INT+ 1",
    "mul div INT+ 3 INT+ 4 add x pi",
]


@pytest.mark.parametrize("text", TEXTS)
def test_infix_preserves_value(text: str) -> None:
    tree = parse(text_to_ids(text))
    names = {"x": sympy.Symbol("x", real=True, nonzero=True), "ln": sympy.log}
    assert same_value(to_sympy(tree), parse_expr(to_infix(tree), local_dict=names))


@pytest.mark.parametrize("text", TEXTS)
def test_sympy_round_trip_preserves_value(text: str) -> None:
    expression = to_sympy(parse(text_to_ids(text)))
    assert same_value(to_sympy(parse(write(from_sympy(expression)))), expression)


def test_rendering_examples() -> None:
    ids = text_to_ids("sub Y' add div INT+ 3 INT+ 4 mul pow x INT- 2 sqrt a8")
    assert to_infix(ids) == "y' - (3/4 + 1/x**2*sqrt(a8))"
    assert to_latex(ids) == r"y' - \left(\frac{3}{4} + \frac{1}{{x}^{2}} \sqrt{a_{8}}\right)"
    assert to_infix(text_to_ids("add x")) == "add x"
    assert ids_to_text(bytes([12, 200])) == "x <200>"


@settings(max_examples=30)
@given(trees)
def test_every_tree_renders(tree: object) -> None:
    assert to_infix(tree).count("(") == to_infix(tree).count(")")
    latex = to_latex(tree)
    assert latex.count("{") == latex.count("}")
    assert latex.count("\\left") == latex.count("\\right")


def test_unsupported_function_raises() -> None:
    with pytest.raises(UserError, match="no token for"):
        from_sympy(sympy.erf(sympy.Symbol("x")))
