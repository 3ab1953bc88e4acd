"""Infix and LaTeX: what each text means, what is refused and why, and that every printed tree is read back."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.infix import parse_infix, parse_infix_equation
from mathpipe.datasets.expressions.latex import parse_latex, parse_latex_equation
from mathpipe.datasets.expressions.lexemes import MAX_CHARACTERS
from mathpipe.datasets.expressions.prefix import MAX_DEPTH, MAX_TOKENS, Tree, ids_to_text, parse, write
from mathpipe.datasets.expressions.vocabulary import BINARY, IDS, TOKENS, UNARY
from mathpipe.datasets.rendering.formulas import to_infix, to_latex

NOTATIONS: dict[str, Callable[[str], Tree]] = {"infix": parse_infix, "latex": parse_latex}

INFIX = [
    # numbers
    ("0", "INT+ 0"),
    ("-0", "INT+ 0"),
    ("007", "INT+ 7"),
    ("-12", "INT- 1 2"),
    ("1234567890123456789012345678901234567890", "INT+ " + " ".join("1234567890" * 4)),
    ("0.5", "div INT+ 1 INT+ 2"),
    (".125", "div INT+ 1 INT+ 8"),
    ("2.50", "div INT+ 5 INT+ 2"),
    ("3.", "INT+ 3"),
    ("4.0", "INT+ 4"),
    ("-0.75", "div INT- 3 INT+ 4"),
    ("-3/4", "div INT- 3 INT+ 4"),
    ("-(3/4)", "div INT- 3 INT+ 4"),
    ("0.1^2", "pow div INT+ 1 INT+ 1 0 INT+ 2"),
    # names
    ("pi", "pi"),
    ("π", "pi"),
    ("e", "E"),
    ("i", "I"),
    ("a0 + a9", "add a0 a9"),
    ("c1*x + c2", "add mul a8 x a9"),
    ("C_1", "a8"),
    ("c + c", "add a8 a8"),
    ("y'' + y' + y", "add Y'' add Y' Y"),
    ("y'(x) - y(x)", "sub Y' Y"),
    ("dy/dx", "Y'"),
    ("d^2y/dx^2", "Y''"),
    # precedence
    ("x*exp(-x^2)/2", "mul x div exp mul INT- 1 pow x INT+ 2 INT+ 2"),
    ("x - x - 1", "sub sub x x INT+ 1"),
    ("x + x - 1", "add x sub x INT+ 1"),
    ("x - x + 1", "add sub x x INT+ 1"),
    ("x/x/2", "div div x x INT+ 2"),
    ("x/x*2", "mul div x x INT+ 2"),
    ("2^3^x", "pow INT+ 2 pow INT+ 3 x"),
    ("2**3**x", "pow INT+ 2 pow INT+ 3 x"),
    ("-x^2", "mul INT- 1 pow x INT+ 2"),
    ("(-x)^2", "pow mul INT- 1 x INT+ 2"),
    ("-2^2", "mul INT- 1 pow INT+ 2 INT+ 2"),
    ("(-2)^2", "pow INT- 2 INT+ 2"),
    ("x^-1", "pow x INT- 1"),
    ("2^-x*x", "mul pow INT+ 2 mul INT- 1 x x"),
    ("2^-x^2", "pow INT+ 2 mul INT- 1 pow x INT+ 2"),
    ("x*-x", "mul x mul INT- 1 x"),
    ("x--1", "sub x INT- 1"),
    ("+x", "x"),
    ("x/-x*2", "mul div x mul INT- 1 x INT+ 2"),
    ("x^1/2", "div pow x INT+ 1 INT+ 2"),
    ("x^(1/2)", "sqrt x"),
    ("x**0.5", "sqrt x"),
    ("x^(1/3)", "pow x div INT+ 1 INT+ 3"),
    ("e^x", "exp x"),
    ("e^(2*x)", "exp mul INT+ 2 x"),
    ("[x + 1]*(x)", "mul add x INT+ 1 x"),
    # functions
    ("ln(x)", "ln x"),
    ("log(x)", "ln x"),
    ("arcsin(x)", "asin x"),
    ("asin(x)", "asin x"),
    ("arsinh(x) + arcsinh(x) + asinh(x)", "add asinh x add asinh x asinh x"),
    ("arctanh(x)", "atanh x"),
    ("sgn(x)", "sign x"),
    ("sqrt(x)", "sqrt x"),
    ("cbrt(x)", "rac x INT+ 3"),
    ("abs(x)", "abs x"),
    ("sin^2(x)", "pow sin x INT+ 2"),
    ("sin(x)^2", "pow sin x INT+ 2"),
    ("tan^-1(x)", "atan x"),
    ("cosh^(-1)(x)", "acosh x"),
    ("sin x", "sin x"),
    ("sin 2x", "sin mul INT+ 2 x"),
    ("sin x^2", "sin pow x INT+ 2"),
    ("sin x + 1", "add sin x INT+ 1"),
    ("sin x / 2", "div sin x INT+ 2"),
    ("sin x cos x", "mul sin x cos x"),
    ("ln sin x", "ln sin x"),
    ("-sin x", "mul INT- 1 sin x"),
    # absolute values
    ("|x|", "abs x"),
    ("ln|x|", "ln abs x"),
    ("ln|x + |x||", "ln abs add x abs x"),
    ("|x| + |x - 1|", "add abs x abs sub x INT+ 1"),
    ("|(|x|)|", "abs abs x"),
    ("2|x|", "mul INT+ 2 abs x"),
    # products without a sign
    ("2x", "mul INT+ 2 x"),
    ("-2x^2", "mul INT- 2 pow x INT+ 2"),
    ("3 sin(x)", "mul INT+ 3 sin x"),
    ("2(x + 1)", "mul INT+ 2 add x INT+ 1"),
    ("(x + 1)(x - 1)", "mul add x INT+ 1 sub x INT+ 1"),
    ("(x + 1)x", "mul add x INT+ 1 x"),
    ("2 pi x", "mul INT+ 2 mul pi x"),
    ("x^2 sin(x)", "mul pow x INT+ 2 sin x"),
    ("2x/3", "mul INT+ 2 div x INT+ 3"),
    ("ln|x| sin(x)", "mul ln abs x sin x"),
    # typographic signs
    ("x − 1", "sub x INT+ 1"),
    ("2·x×3", "mul INT+ 2 mul x INT+ 3"),
]
LATEX = [
    (r"\frac{x}{2}", "div x INT+ 2"),
    (r"\dfrac{1}{x}", "div INT+ 1 x"),
    (r"\tfrac{1}{2} x", "mul div INT+ 1 INT+ 2 x"),
    (r"\frac12", "div INT+ 1 INT+ 2"),
    (r"\frac1x", "div INT+ 1 x"),
    (r"\frac 1 {x+1}", "div INT+ 1 add x INT+ 1"),
    (r"-\frac{1}{2}", "div INT- 1 INT+ 2"),
    (r"\frac{-1}{2}", "div INT- 1 INT+ 2"),
    (r"\frac{\frac{1}{x}}{\frac{2}{3}}", "div div INT+ 1 x div INT+ 2 INT+ 3"),
    (r"\sqrt{x}", "sqrt x"),
    (r"\sqrt 2", "sqrt INT+ 2"),
    (r"\sqrt2x", "mul sqrt INT+ 2 x"),
    (r"\sqrt[3]{x}", "rac x INT+ 3"),
    (r"\sqrt[2]{x}", "sqrt x"),
    (r"\sqrt[3]x", "rac x INT+ 3"),
    (r"\sqrt[\frac{1}{2}]{x}", "rac x div INT+ 1 INT+ 2"),
    (r"\sin^2 x", "pow sin x INT+ 2"),
    (r"\sin^{2}\left(x\right)", "pow sin x INT+ 2"),
    (r"\sin^{12} x", "pow sin x INT+ 1 2"),
    (r"\sin^{-1} x", "asin x"),
    (r"\left(x + 1\right)^2", "pow add x INT+ 1 INT+ 2"),
    (r"\left[\{x\}\right]", "x"),
    (r"\bigl(x\bigr)", "x"),
    (r"e^{x}", "exp x"),
    (r"e^x", "exp x"),
    (r"\mathrm{e}^{-x^2}", "exp mul INT- 1 pow x INT+ 2"),
    (r"e^{\frac{1}{2}}", "sqrt E"),
    (r"x^\frac12", "sqrt x"),
    (r"x^2y", "mul pow x INT+ 2 Y"),
    (r"{x}^{2}", "pow x INT+ 2"),
    (r"2^{3^{x}}", "pow INT+ 2 pow INT+ 3 x"),
    (r"\ln|x|", "ln abs x"),
    (r"\ln\left|x\right|", "ln abs x"),
    (r"\ln \lvert x \rvert", "ln abs x"),
    (r"\ln\left|\frac{x-1}{x+1}\right|", "ln abs div sub x INT+ 1 add x INT+ 1"),
    (r"\left|x\right| x", "mul abs x x"),
    (r"\log x", "ln x"),
    (r"2 \cdot x \times 3", "mul INT+ 2 mul x INT+ 3"),
    (r"x\,\sin x", "mul x sin x"),
    (r"x \; \sin x \quad", "mul x sin x"),
    (r"\sin 2x \cos x", "mul sin mul INT+ 2 x cos x"),
    (r"\sin\frac{x}{2}", "sin div x INT+ 2"),
    (r"\sin 2\pi x", "sin mul mul INT+ 2 pi x"),
    (r"\sin{x}", "sin x"),
    (r"\sin{\left(x \right)}", "sin x"),
    (r"\arctan x", "atan x"),
    (r"\operatorname{arsinh} x", "asinh x"),
    (r"\operatorname{sech}\left(x\right)", "sech x"),
    (r"x(x+1)", "mul x add x INT+ 1"),
    (r"xe^x", "mul x exp x"),
    (r"y'", "Y'"),
    (r"y^{\prime\prime} + y^\prime", "add Y'' Y'"),
    (r"y'(x)", "Y'"),
    (r"\frac{dy}{dx}", "Y'"),
    (r"\frac{d^{2}y}{dx^{2}}", "Y''"),
    (r"c_1 e^{x} + c_{2}", "add mul a8 exp x a9"),
    (r"a_{3}", "a3"),
    (r"$0.25 x$", "mul div INT+ 1 INT+ 4 x"),
    (r"\(x\)", "x"),
    (r"\frac{x}{2}\sqrt{1-x^2}+\frac{1}{2}\arcsin x", "add mul div x INT+ 2 sqrt sub INT+ 1 pow x INT+ 2 "
     "mul div INT+ 1 INT+ 2 asin x"),
]  # fmt: skip
REFUSED_INFIX = [
    ("", 1, "an operand is missing"),
    ("   ", 4, "an operand is missing"),
    ("x +", 4, "an operand is missing"),
    ("* x", 1, "an operand is missing"),
    ("()", 2, "an operand is missing"),
    ("x!", 2, "factorials are not supported"),
    ("x $ 2", 3, "this character has no meaning here"),
    ("x\x00", 2, "this character has no meaning here"),
    ("𝐱", 1, "this character has no meaning here"),
    ("x²", 2, "this character has no meaning here"),
    ("٣", 1, "this character has no meaning here"),
    ("(x", 3, "( of character 1 is not closed"),
    ("(x + ", 6, "( of character 1 is not closed"),
    ("|x", 3, "| of character 1 is not closed"),
    ("x)", 2, "a closing bracket without an opening one"),
    ("(x]", 3, "another bracket closes ( of character 1"),
    ("|(x|)", 5, "an operand is missing"),
    ("x = 1", 3, "= has no meaning here"),
    ("2 3", 3, "an operator is missing before this"),
    ("x 2", 3, "an operator is missing before this"),
    ("(x)2", 4, "an operator is missing before this"),
    ("foo(x)", 1, "unknown name"),
    ("arctn(x)", 1, "unknown name"),
    ("x2", 1, "unknown name"),
    ("xsin(x)", 1, "unknown name"),
    ("__import__('os')", 1, "unknown name"),
    ("erf(x)", 1, "unknown name"),
    ("log10(x)", 1, "unknown name"),
    ("y'''", 1, "unknown name"),
    ("sin", 4, "the argument of a function is missing"),
    ("sin + 1", 5, "the argument of a function is missing"),
    ("sin^x(x)", 5, "the exponent after the name of a function"),
    ("ln^-1(x)", 3, "a negative power between a function and its argument"),
    ("sin^-2(x)", 4, "a negative power between a function and its argument"),
    ("1/2x", 4, "1/2x has two readings"),
    ("1/2 sin(x)", 5, "1/2x has two readings"),
    ("1/-2x", 5, "1/2x has two readings"),
    ("1/sin x cos x", 9, "1/2x has two readings"),
    ("x(x + 1)", 2, "a name before a bracket may be a product or a function"),
    ("y(2)", 2, "a name before a bracket may be a product or a function"),
    ("2^3x", 4, "2^3x has two readings"),
    ("e^2x", 4, "2^3x has two readings"),
    ("|2|x|+1|", 4, "a bar may close one absolute value or open another"),
    ("|x||x|", 4, "a bar may close one absolute value or open another"),
    ("ln|x|^2", 6, "ln|u|^2 has two readings"),
    ("sin 2*x", 6, "the argument of a function may end here or go on"),
    ("sin x y", 7, "the argument of a function may end here or go on"),
    ("ln sin x cos x", 10, "the argument of a function may end here or go on"),
    ("2e3", 1, "2e3 may mean"),
    ("2.5e-3", 1, "2e3 may mean"),
    ("c1 + C", 6, "two names of one constant of integration"),
    ("1" * 41, 1, "a number of 41 digits"),
    ("0." + "1" * 41, 1, "a number of 42 digits"),
    ("1,000", 2, "this character has no meaning here"),
    ("lambda x: x", 1, "unknown name"),
    ("x if x else 1", 3, "unknown name"),
]
REFUSED_LATEX = [
    ("", 1, "an operand is missing"),
    (r"\foo", 1, "unknown name"),
    (r"\alpha", 1, "unknown name"),
    (r"\frac{1}", 9, "the denominator is missing"),
    (r"\frac", 6, "the numerator is missing"),
    (r"\frac{1}{2", 11, "{ of character 9 is not closed"),
    (r"\frac{}{2}", 7, "an operand is missing"),
    (r"\sqrt[3]", 9, "the radicand is missing"),
    (r"\sqrt[n]{x}", 7, "unknown name"),
    (r"\sqrt", 6, "the square root is missing"),
    (r"x^23", 3, "digits without braces after ^"),
    (r"x^-1", 3, "an exponent of more than one character"),
    (r"x^\sin x", 3, "a function as an exponent without braces"),
    (r"x^{}", 4, "an operand is missing"),
    (r"\sin x e^x", 8, "the argument of a function may end here or go on"),
    (r"\sin x (x+1)", 8, "the argument of a function may end here or go on"),
    (r"\sin -x", 6, "the argument of a function is missing"),
    (r"\log_{10} x", 5, "this character has no meaning here"),
    (r"\int x dx", 1, "unknown name"),
    (r"\left.x\right|", 6, "this character has no meaning here"),
    (r"\left(x\right]", 14, "another bracket closes ( of character 6"),
    (r"5!", 2, "factorials are not supported"),
    (r"x \pm 1", 3, "unknown name"),
    (r"\begin{pmatrix}1\end{pmatrix}", 1, "unknown name"),
    (r"\input{/etc/passwd}", 1, "unknown name"),
]


def tokens(text: str, notation: str) -> str:
    return ids_to_text(write(NOTATIONS[notation](text)))


@pytest.mark.parametrize(("text", "expected"), INFIX)
def test_infix(text: str, expected: str) -> None:
    assert tokens(text, "infix") == expected


@pytest.mark.parametrize(("text", "expected"), LATEX)
def test_latex(text: str, expected: str) -> None:
    assert tokens(text, "latex") == expected


@pytest.mark.parametrize(
    ("notation", "text", "position", "what"),
    [("infix", *row) for row in REFUSED_INFIX] + [("latex", *row) for row in REFUSED_LATEX],
)
def test_refused_texts_name_position_and_reason(notation: str, text: str, position: int, what: str) -> None:
    with pytest.raises(UserError) as refused:
        NOTATIONS[notation](text)
    assert f"character {position}:" in refused.value.what
    assert what in refused.value.what
    assert refused.value.expected and refused.value.got


def test_a_misspelt_name_is_corrected() -> None:
    with pytest.raises(UserError, match=r"Got: 'arctn'\. Next: did you mean arctan"):
        parse_infix("x + arctn(x)")


@pytest.mark.parametrize(
    ("notation", "text", "left", "right"),
    [
        ("infix", "y' = x*y", "Y'", "mul x Y"),
        ("infix", "y'' + y = 0", "add Y'' Y", "INT+ 0"),
        ("infix", "y' - y", "sub Y' Y", None),
        ("latex", r"\frac{dy}{dx} = \frac{y}{x}", "Y'", "div Y x"),
        ("latex", r"y = c_1 e^{x}", "Y", "mul a8 exp x"),
    ],
)
def test_equations(notation: str, text: str, left: str, right: str | None) -> None:
    sides = (parse_infix_equation if notation == "infix" else parse_latex_equation)(text)
    assert [None if side is None else ids_to_text(write(side)) for side in sides] == [left, right]


@pytest.mark.parametrize("text", ["x = x = x", "(x = 1)", "= x", "x =", "|x = 1|"])
def test_refused_equations(text: str) -> None:
    for parse_equation in (parse_infix_equation, parse_latex_equation):
        with pytest.raises(UserError):
            parse_equation(text)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_limits(notation: str) -> None:
    parse = NOTATIONS[notation]
    assert write(parse("(" * 5_000 + "x" + ")" * 5_000)) == write((IDS["x"],))
    assert parse("-" * 30 + "x") == parse("-(" * 30 + "x" + ")" * 30)
    for text, what in (
        ("+".join(["x"] * 300), "nested too deeply"),
        ("-" * 300 + "x", "nested too deeply"),
        ("(((x+1)^2+1)^2" * 80, "nested|not closed"),
        ("x^(" * 300 + "x" + ")" * 300, "nested too deeply"),
        ("x" + " " * MAX_CHARACTERS, "the text is too long"),
        ("+".join(["(x*x*x*x)"] * 2_000), "too long|too deeply"),
    ):
        with pytest.raises(UserError, match=what):
            parse(text)
    assert parse_infix("1" * 200, max_digits=200) == int("1" * 200)
    assert parse_infix("+".join(["x"] * 300), max_depth=300) == parse_latex("+".join(["x"] * 300), max_depth=300)


leaves = st.one_of(
    st.integers(-(10**30), 10**30),
    st.integers(-3, 9),
    st.sampled_from([(IDS[name],) for name in ("x", "z", "t", "a8", "a9", "a0", "pi", "E", "Y", "Y'", "Y''", "I")]),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from([IDS[name] for name in UNARY]), inner),
        st.tuples(st.sampled_from([IDS[name] for name in BINARY]), inner, inner),
    ),
    max_leaves=20,
)
_LEAF_VALUES = {name: mpmath.mpc(0.3 + 0.11 * k, 0.21 + 0.07 * k) for k, name in enumerate(TOKENS)}
_POWERS = {"inv": -1, "pow2": 2, "pow3": 3, "pow4": 4, "pow5": 5}


class Overflow(ArithmeticError):
    """A value that is too large to be compared."""


def value(tree: Tree, limit: float = 1e40) -> mpmath.mpc:
    """The value of a tree, each leaf a fixed number that is not real; Overflow if a part or its inverse exceeds the limit.

    Arguments of functions are bounded by the tenth root of the limit.
    """
    if isinstance(tree, int):
        return mpmath.mpc(tree)
    token, operands = TOKENS[tree[0]], [value(child, limit) for child in tree[1:]]
    match token, *operands:
        case [name]:
            fixed = {"pi": +mpmath.pi, "E": +mpmath.e, "I": mpmath.mpc(0, 1)}
            return fixed.get(name, _LEAF_VALUES[name])
        case "add", a, b:
            result = a + b
        case "sub", a, b:
            result = a - b
        case "mul", a, b:
            result = a * b
        case "div", a, b:
            result = a / b
        case "pow", a, b if b.imag == 0 and b.real in range(-9, 10):
            result = a ** int(b.real)
        case "pow" | "rac", a, b:
            exponent = (b if token == "pow" else 1 / b) * mpmath.log(a)
            result = mpmath.exp(bounded(exponent, limit))
        case name, a if name in _POWERS:
            result = a ** _POWERS[name]
        case "abs", a:
            result = mpmath.mpc(abs(a))
        case name, a:
            result = getattr(mpmath, {"ln": "log"}.get(name, name))(bounded(a, limit))
    if not (1 / limit < abs(result) < limit or result == 0):
        raise Overflow
    return result


def bounded(number: mpmath.mpc, limit: float) -> mpmath.mpc:
    if abs(number) > limit**0.1:
        raise Overflow
    return number


def assert_same_value(a: Tree, b: Tree) -> None:
    """Equal at the fixed point, unless a value is out of bounds.

    On a branch cut the rounding of integers decides the side: there one of several precisions has to agree. At a pole, such as
    acot(i), b may be infinite and a as large as the precision allows: there a depends on the precision.
    """
    precisions = (60, 50, 55, 65)
    expected: list[mpmath.mpc] = []
    actual: mpmath.mpc | None = None
    for digits in precisions:
        with mpmath.workdps(digits):
            try:
                expected.append(value(a))
            except (ArithmeticError, ValueError):
                return
            try:
                actual = value(b, 1e200)
            except Overflow:
                if any(abs(number - expected[-1]) > mpmath.mpf(10) ** -9 * abs(number) for number in expected):
                    return
                continue
            if any(abs(number - actual) <= mpmath.mpf(10) ** -9 * abs(number) for number in expected):
                return
    raise AssertionError(f"{expected} differ from {actual}")


@pytest.mark.parametrize("notation", NOTATIONS)
@settings(max_examples=300, deadline=None)
@given(tree=trees)
def test_printed_trees_are_read_back(notation: str, tree: Tree) -> None:
    text = to_infix(tree) if notation == "infix" else to_latex(tree)
    again = NOTATIONS[notation](text)
    assert parse(write(again)) == again, "what is read is a valid expression"
    assert_same_value(tree, again)
    printed = to_infix(again) if notation == "infix" else to_latex(again)
    assert_same_value(again, NOTATIONS[notation](printed))


pieces = st.sampled_from(
    [
        *("x", "y'", "2", "0.5", "(", ")", "[", "]", "{", "}", "|", "+", "-", "*", "/", "^", "**", "=", " ", "e", "c1", "C"),
        *("sin", "ln", "sqrt", r"\frac", r"\sqrt", r"\sin", r"\ln", r"\left|", r"\right|", r"\left(", r"\right)", r"\cdot"),
        *(r"\,", "_", "!", "'", "²", "−", "\x00", "∞", "a_{", r"\operatorname{", "dy/dx", "1e5", "." "9" * 50, "x" * 50, "(" * 50),
    ]
)  # fmt: skip


@pytest.mark.parametrize("notation", NOTATIONS)
@settings(max_examples=400, deadline=None)
@given(text=st.one_of(st.text(max_size=200), st.lists(pieces, max_size=60).map("".join)))
def test_any_text_is_parsed_or_rejected(notation: str, text: str) -> None:
    try:
        tree = NOTATIONS[notation](text)
    except UserError as refused:
        assert len(str(refused)) < 500 and str(refused).isprintable()
    else:
        assert len(write(tree)) <= MAX_TOKENS and parse(write(tree), max_depth=MAX_DEPTH) == tree


edits = st.lists(
    st.tuples(st.integers(0, 10**6), st.one_of(st.just(""), st.characters(), pieces)), min_size=1, max_size=4
)


@pytest.mark.parametrize("notation", NOTATIONS)
@settings(max_examples=200, deadline=None)
@given(tree=trees, changes=edits)
def test_edited_texts_are_parsed_or_rejected(notation: str, tree: Tree, changes: list[tuple[int, str]]) -> None:
    text = to_infix(tree) if notation == "infix" else to_latex(tree)
    for position, replacement in changes:
        start = position % (len(text) + 1)
        text = text[:start] + replacement + text[start + 1 :]
    try:
        again = NOTATIONS[notation](text)
    except UserError as refused:
        assert "character" in refused.what
    else:
        assert parse(write(again)) == again


HOSTILE = [
    "(" * 60_000,
    ")" * 60_000,
    "|" * 60_000,
    "-" * 60_000,
    "sin " * 15_000,
    "x" * 65_000,
    "9" * 65_000,
    "x^" * 30_000,
    "x " * 30_000,
    "|x" * 30_000,
    "(x)" * 20_000,
    "y(x)" * 15_000,
    "c1" * 30_000,
    r"\frac" * 13_000,
    r"\frac1" * 10_000,
    r"\frac{" * 10_000,
    r"\sqrt[" * 10_000,
    r"\sqrt[\sqrt" * 5_000,
    r"\operatorname{" * 4_000,
    "a_{" * 20_000,
    "{" * 60_000,
    r"\left|" * 10_000,
    "\\" * 60_000,
    "d^2y" * 15_000,
    "1." * 30_000,
    "1e" * 30_000,
    "'" * 60_000,
    "y'" * 30_000,
    "x" * 1_000_000,
    "(" * 1_000_000,
    "∞" * 1_000_000,
    "\ud800" * 10,
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_texts_are_refused_without_hanging(notation: str, number: int) -> None:
    """Each takes milliseconds; quadratic time or more would be minutes."""
    with pytest.raises(UserError):
        NOTATIONS[notation](HOSTILE[number])
