"""Expressions: reading is strict and never evaluates anything; every tree survives each way of writing it."""

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
from mathpipe.datasets.expressions.prefix import Malformed, parse, text_of, words_of, write
from mathpipe.datasets.expressions.sympy_bridge import from_sympy, to_sympy
from mathpipe.datasets.expressions.vocabulary import BINARY, IDS, UNARY, WORDS
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


def test_the_vocabulary_has_the_91_published_words_in_their_order() -> None:
    assert len(WORDS) == 91
    assert (WORDS[0], WORDS[1], WORDS[2], WORDS[10], WORDS[12]) == ("<s>", "</s>", "<pad>", "pi", "x")
    assert len(set(WORDS)) == 91
    assert WORDS[-10:] == tuple("0123456789")


@given(trees)
def test_what_is_written_is_read_back(tree: object) -> None:
    assert parse(write(tree)) == tree


@given(st.binary(max_size=60))
def test_no_words_whatever_do_more_than_be_malformed(words: bytes) -> None:
    try:
        assert write(parse(words)) == words
    except Malformed as error:
        assert str(error)
    assert isinstance(to_infix(words), str)
    assert isinstance(to_latex(words), str)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no words"),
        ("add x", "lacks operands"),
        ("x x", "2 expressions"),
        ("INT+", "without digits"),
        ("INT+ 0 3", "leading zero"),
        ("INT- 0", "leading zero"),
        ("3", "without a sign"),
        ("x 3", "digits after x"),
        ("f x", "begins no expression"),
        ("<s> x", "begins no expression"),
        ("sin 3", "digits after sin"),
        ("INT+ INT+ 3", "without digits"),
        ("add INT+ 3 x x", "2 expressions"),
        ("INT+ " + "7 " * 41, "41 digits"),
        ("sin " * 201 + "x", "deeper than 200"),
        ("sin " * 5000 + "x", "5001 words"),
    ],
)
def test_malformed_words_say_where_and_why(text: str, why: str) -> None:
    with pytest.raises(Malformed, match=re.escape(why)):
        parse(words_of(text))


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
def test_hostile_text_is_answered_with_the_word_that_is_none(hostile: str) -> None:
    with pytest.raises((UserError, Malformed)):
        parse(words_of(hostile))


def test_nothing_that_evaluates_text_is_named_in_the_sources() -> None:
    forbidden = re.compile(r"(?<![\w.])(eval|exec|compile)\(|\b(sympify|parse_expr|lambdify)\b|\bsympy\.S\(|\bse\.S\(")
    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for room in ("datasets", "generate", "train", "evaluate", "pipeline")
        for file in (ROOT / room).rglob("*.py")
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if forbidden.search(line) and not line.lstrip().startswith(("#", "Words never", "length")) and "``" not in line
    ]
    assert found == []


def same_value(a: sympy.Expr, b: sympy.Expr) -> bool:
    at = {s: sympy.Rational(37, 100) + k for k, s in enumerate(sorted(a.free_symbols | b.free_symbols, key=str))}
    left, right = (complex(sympy.N(e.subs(at), 30, maxn=200)) for e in (a, b))
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
def test_infix_means_what_the_prefix_says(text: str) -> None:
    tree = parse(words_of(text))
    names = {"x": sympy.Symbol("x", real=True, nonzero=True), "ln": sympy.log}
    assert same_value(to_sympy(tree), parse_expr(to_infix(tree), local_dict=names))


@pytest.mark.parametrize("text", TEXTS)
def test_sympy_and_back_keeps_the_value(text: str) -> None:
    expression = to_sympy(parse(words_of(text)))
    assert same_value(to_sympy(parse(write(from_sympy(expression)))), expression)


def test_formulas_read_as_people_write_them() -> None:
    words = words_of("sub Y' add div INT+ 3 INT+ 4 mul pow x INT- 2 sqrt a8")
    assert to_infix(words) == "y' - (3/4 + 1/x**2*sqrt(a8))"
    assert to_latex(words) == r"y' - \left(\frac{3}{4} + \frac{1}{{x}^{2}} \sqrt{a_{8}}\right)"
    assert to_infix(words_of("add x")) == "add x"
    assert text_of(bytes([12, 200])) == "x <200>"


@settings(max_examples=30)
@given(trees)
def test_every_tree_can_be_drawn(tree: object) -> None:
    assert to_infix(tree).count("(") == to_infix(tree).count(")")
    latex = to_latex(tree)
    assert latex.count("{") == latex.count("}")
    assert latex.count("\\left") == latex.count("\\right")


def test_a_function_without_a_word_is_refused() -> None:
    with pytest.raises(UserError, match="has no word"):
        from_sympy(sympy.erf(sympy.Symbol("x")))
