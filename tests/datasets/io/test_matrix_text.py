"""Matrices from text: values to the last bit, and what is refused where."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.matrix_text import MAX_CHARACTERS, parse_matrix

ACCEPTED = [
    ("[[1, 1/3], [2.5e3, -0]]", [[1, 1 / 3], [2500, -0.0]]),
    ("[[1]]", [[1]]),
    (" [ [ 1 , 2 ] ,\n [ -3 , +4 ] ] \n", [[1, 2], [-3, 4]]),
    ("[[.5, 5.], [1E-3, 00.10]]", [[0.5, 5], [0.001, 0.1]]),
    ("[[−1, -1/2]]", [[-1, -0.5]]),
    (r"\begin{pmatrix} 1 & -0/3 \\ .5/2 & 3e2 \end{pmatrix}", [[1, -0.0], [0.25, 300]]),
    ("[[" + "9" * 1_000 + "/" + "9" * 1_000 + "]]", [[1.0]]),
    ("[[-0/3, 0.5/0.25]]", [[-0.0, 2]]),
    ("[[123456789012345678901234567890/123456789012345678901234567891]]", [[1.0]]),
    ("[[2 / 3, - 4]]", [[2 / 3, -4]]),
    ("[1, 2, 3]", [[1], [2], [3]]),
    ("[1/3]", [[1 / 3]]),
    ("7", [[7]]),
    ("-1/8", [[-0.125]]),
    ("[[1e-400]]", [[0.0]]),
    (r"\begin{pmatrix} 1 & \frac{1}{3} \\ 2.5e3 & -0 \end{pmatrix}", [[1, 1 / 3], [2500, -0.0]]),
    (r"\begin{bmatrix}1&2\\3&4\\\end{bmatrix}", [[1, 2], [3, 4]]),
    (r"\left(\begin{array}{cc}1 & -\dfrac{1}{2} \\ 1/3 & 4\end{array}\right)", [[1, -0.5], [1 / 3, 4]]),
    (r"$\begin{matrix} 2.5 \times 10^{3} & 1\cdot 10^2 \\ -2 \times 10^{-1} & \frac{-1}{4} \end{matrix}$",
     [[2500, 100], [-0.2, -0.25]]),
]  # fmt: skip
REFUSED = [
    ("", 1, "the matrix is not complete"),
    ("[[1, 2], [3]]", 11, "row 2 has 1 entries"),
    ("[[1, 2], [3, x]]", 14, "not a number"),
    ("[[1, 2], [3, ]]", 14, "an entry is missing"),
    ("[[1,, 2]]", 5, "an entry is missing"),
    ("[[], []]", 3, "an entry is missing"),
    ("[]", 2, "an entry is missing"),
    ("[[1, 2], [3, 4]", 16, "the matrix is not complete"),
    ("[[1, 2]] x", 9, "text after the matrix"),
    ("[[1, 2]]]", 9, "text after the matrix"),
    ("[[[1]]]", 3, "a list where none belongs"),
    ("[1, [2]]", 5, "a list where none belongs"),
    ("[[1], 2]", 6, "a number where none belongs"),
    ("[[1] [2]]", 6, "a list where none belongs"),
    ("[[1 2]]", 3, "not a number"),
    ("[[1_000]]", 3, "not a number"),
    ("[[٣]]", 3, "not a number"),
    ("[[nan]]", 3, "not a number"),
    ("[[inf]]", 3, "not a number"),
    ("[[0x10]]", 3, "not a number"),
    ("[[1j]]", 3, "not a number"),
    ("[[1e999]]", 3, "not a finite double"),
    ("[[1/0]]", 3, "not a finite double"),
    ("[[1/2/3]]", 3, "not a number"),
    ("[[2^3]]", 3, "not a number"),
    ("[[" + "9" * 5_000 + "]]", 3, "not a number"),
    ("[[1, " + "9" * 3_000 + "/" + "9" * 3_000 + "]]", 6, "not a number"),
    ("[[1/-2]]", 3, "not a number"),
    ("[[1/ +2]]", 3, "not a number"),
    ("[[" + "9" * 390 + "]]", 3, "not a finite double"),
    ("[[__import__('os')]]", 3, "not a number"),
    ("{{1, 2}}", 4, "a comma outside of brackets"),
    ("1, 2", 2, "a comma outside of brackets"),
    ("]", 1, "an entry is missing"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 \end{pmatrix}", 26, "row 2 has 1 entries"),
    (r"\begin{pmatrix} 1 & \\ 3 & 4 \end{pmatrix}", 21, "an entry is missing"),
    (r"\begin{pmatrix} 1 & x \end{pmatrix}", 21, "not a number"),
    (r"\begin{pmatrix} 1", 18, "the matrix is not complete"),
    (r"\begin{vmatrix} 1 \end{vmatrix}", 1, "not a matrix"),
    (r"2\begin{pmatrix} 1 \end{pmatrix}", 1, "text beside the matrix"),
    (r"\begin{pmatrix} 1 \end{pmatrix}^2", 32, "text beside the matrix"),
]


@pytest.mark.parametrize(("text", "expected"), ACCEPTED)
def test_accepted(text: str, expected: list[list[float]]) -> None:
    matrix = parse_matrix(text)
    assert matrix.dtype == np.float64 and matrix.tobytes() == np.array(expected, dtype=np.float64).tobytes()
    assert matrix.shape == np.shape(expected)


@pytest.mark.parametrize(("text", "position", "what"), REFUSED)
def test_refused_texts_name_position_and_reason(text: str, position: int, what: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_matrix(text)
    assert f"character {position}: {what}" in refused.value.what
    assert refused.value.expected and refused.value.got


floats = st.floats(allow_nan=False, allow_infinity=False)
finite = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=floats)


@given(finite)
def test_printed_matrices_are_read_back(matrix: np.ndarray) -> None:
    rows = matrix.tolist()
    latex = r"\\".join("&".join(map(repr, row)) for row in rows)
    for text in (str(rows), str(rows).replace(" ", ""), rf"\begin{{pmatrix}}{latex}\end{{pmatrix}}"):
        again = parse_matrix(text)
        assert again.shape == matrix.shape and again.tobytes() == matrix.tobytes()


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**30))
def test_fractions_are_rounded_once(p: int, q: int) -> None:
    assert parse_matrix(f"[[{p}/{q}]]") == p / q
    assert parse_matrix(rf"\begin{{pmatrix}}\frac{{{p}}}{{{q}}}\end{{pmatrix}}") == p / q


pieces = st.sampled_from(
    [
        "[",
        "]",
        ",",
        "1",
        "-",
        "/",
        ".",
        "e5",
        " ",
        "&",
        r"\\",
        r"\begin{pmatrix}",
        r"\end{pmatrix}",
        r"\frac{1}{2}",
        "x",
        "∞",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=100), st.lists(pieces, max_size=30).map("".join)))
def test_any_text_is_parsed_or_rejected(text: str) -> None:
    try:
        matrix = parse_matrix(text)
    except UserError as refused:
        assert len(str(refused)) < 400 and str(refused).isprintable()
    else:
        assert matrix.ndim == 2 and matrix.size and np.isfinite(matrix).all()


HOSTILE = [
    *("[" * 1_000_000, "]" * 1_000_000, "[[" + "1," * 500_000, "[[" + "1" * 1_000_000 + "]]", "1" * 1_000_000),
    *("[[" + "1e" * 400_000 + "]]", r"\begin{pmatrix}" * 60_000, r"\begin{pmatrix}" + "&" * 900_000, "\\" * 1_000_000),
    *(r"\begin{" + "p" * 900_000, "[[1]," * 150_000, " " * 1_000_000, "[[" + " " * 1_000_000 + "]]", "-" * 1_000_000),
    *("[[" + "1,"  * 20_000 + "1]]", "[[1" + "0" * 300_000 + "/3]]", "x" * (MAX_CHARACTERS + 1)),
]  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_texts_are_refused_without_hanging(number: int) -> None:
    """Each takes milliseconds; quadratic time or more would be minutes."""
    with pytest.raises(UserError):
        parse_matrix(HOSTILE[number])
