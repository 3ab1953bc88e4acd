r"""Matrices from text: nested lists ``[[1, 1/3], [2.5e3, -0]]``, LaTeX ``\begin{pmatrix} 1 & \frac{1}{3} \\ 2 & 0 \end{pmatrix}``.

A list that is not nested is a column, a number alone a 1 x 1 matrix. Values are float64: a fraction of integers is its nearest
double, and -0 keeps its sign. NaN, infinities and numbers beyond double precision are refused. Nothing is evaluated.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.errors import UserError

Floats = NDArray[np.float64]

MAX_CHARACTERS = 1 << 20
MAX_ENTRIES = 10_000
_MAX_NUMBER = 4_000  # characters of one entry: Python's limit for integers from text is 4,300 digits
_EXCERPT = 24
_PLAIN = re.compile(r"[-+0-9eE./,\[\] \t\r\n]*", re.ASCII)
_PLAIN_LATEX = re.compile(
    r"\\begin\{(?P<name>[pb]matrix)\}(?P<body>[-+0-9eE./& \t\r\n]*(?:\\\\[-+0-9eE./& \t\r\n]+)*)\\end\{(?P=name)\}",
    re.ASCII,
)
_SIGNED_DENOMINATOR = re.compile(r"/[ \t\r\n]*[-+]")
_BETWEEN_ROWS = re.compile(r"\][ \t\r\n]*,[ \t\r\n]*\[")
_LIST_PART = re.compile(r"[\[\],]|[^\[\],]+")
_DECIMAL = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_SIMPLE = re.compile(rf"[-+]?{_DECIMAL}")
_NUMBER = re.compile(rf"(?P<sign>[-+]?) ?(?P<p>{_DECIMAL})(?: ?/ ?(?P<q>{_DECIMAL}))?")
_LATEX_NUMBER = re.compile(
    rf"(?P<sign>[-+]?) ?(?:\\[dt]?frac ?\{{ ?(?P<inner>-?) ?(?P<p>{_DECIMAL}) ?\}} ?\{{ ?(?P<q>{_DECIMAL}) ?\}}"
    rf"|(?P<m>{_DECIMAL}) ?\\(?:times|cdot) ?10\^(?:(?P<digit>[0-9])|\{{ ?(?P<power>[-+]?[0-9]+) ?\}}))"
)
_SPACE = re.compile(r"[ \t\r\n]+")
_BEGIN = re.compile(r"\\begin\{(?P<name>[pbB]?matrix|smallmatrix|array)\}(?:\{[lcr| ]*\})?")
_AROUND = re.compile(r"(?:[ \t\r\n$()\[\]]|\\left|\\right|\\[()\[\]])*")
_SIGNS = str.maketrans({"−": "-"})


class _Entry(NamedTuple):
    """The text of an entry, and where it starts."""

    text: str
    start: int


def parse_matrix(text: str) -> Floats:
    """The matrix (r, c) that a text writes; UserError with the character, what was expected and got."""
    if len(text) > MAX_CHARACTERS:
        got = f"{len(text):,} characters that begin with {text[:_EXCERPT]!a}"
        raise UserError("matrix: the text is too long", expected=f"at most {MAX_CHARACTERS:,} characters", got=got)
    plain = _plain(text)
    if plain is not None:
        return plain
    ascii_text = text.translate(_SIGNS)
    rows = _latex_rows(ascii_text) if "\\begin" in text else _list_rows(ascii_text)
    _check_shape(text, rows)
    return np.array([[_value(text, entry) for entry in row] for row in rows], dtype=np.float64)


def _plain(text: str) -> Floats | None:
    """A matrix of decimals and fractions with equal rows; None for anything else, right or wrong: the fast path."""
    body = text.strip(" \t\r\n")
    if body.startswith("[[") and body.endswith("]]") and _PLAIN.fullmatch(body):
        rows = [row.split(",") for row in _BETWEEN_ROWS.split(body[2:-2])]
    elif (latex := _PLAIN_LATEX.fullmatch(body)) is not None:
        rows = [row.split("&") for row in latex.group("body").split("\\\\")]
    else:
        return None
    width = len(rows[0])
    if any(len(row) != width for row in rows) or len(rows) * width > MAX_ENTRIES or _SIGNED_DENOMINATOR.search(body):
        return None
    if len(body) > _MAX_NUMBER and any(len(entry) > _MAX_NUMBER for row in rows for entry in row):
        return None
    try:
        values = np.array([[_plain_value(entry) for entry in row] for row in rows])
    except (ValueError, ArithmeticError):
        return None
    return values if np.isfinite(values).all() else None


def _plain_value(entry: str) -> float:
    """The value of a decimal or fraction of digits, signs, points and exponents; ValueError for anything else."""
    if "/" not in entry:
        return float(entry)
    p, _, q = entry.partition("/")
    try:
        exact = int(p) / int(q)
    except ValueError:  # decimals
        exact = 0.0
    return exact or float(p) / float(q)  # -0/3 is -0


def _fail(text: str, position: int, what: str, expected: str) -> UserError:
    excerpt = text[position : position + _EXCERPT]
    got = ascii(excerpt) if excerpt else "the end of the text"
    return UserError(f"matrix, character {position + 1}: {what}", expected=expected, got=got)


def _list_rows(text: str) -> list[list[_Entry]]:
    """The entries of a nested list by rows; of a flat list or a number, one to a row."""
    rows: list[list[_Entry]] = []
    depth, nested, closed, entry = 0, False, False, ""
    entries, expects_entry = 0, True  # rather than a comma or a closing bracket
    for match in _LIST_PART.finditer(text):
        part, start = match.group(), match.start()
        if not part.strip(" \t\r\n"):
            continue
        if closed:
            raise _fail(text, start, "text after the matrix", "the end of the text")
        if part == "[":
            if not expects_entry or depth == 2 or (depth == 1 and rows and not nested):
                raise _fail(text, start, "a list where none belongs", "rows of numbers: [[1, 2], [3, 4]]")
            nested = nested or depth == 1
            rows += [[]] if depth == 1 else []
            depth += 1
        elif part == "]":
            if expects_entry or depth == 0:
                raise _fail(text, start, "an entry is missing", "a number before the closing bracket")
            depth, closed = depth - 1, depth == 1
        elif part == ",":
            if depth == 0:
                raise _fail(text, start, "a comma outside of brackets", "[[1, 2], [3, 4]]")
            if expects_entry:
                raise _fail(text, start, "an entry is missing", "a number before the comma")
            expects_entry = True
            continue
        else:
            if not expects_entry or (nested and depth == 1):
                raise _fail(text, start, "a number where none belongs", "rows of numbers: [[1, 2], [3, 4]]")
            entry = part.strip(" \t\r\n")
            position = start + part.index(entry[0])
            rows[-1].append(_Entry(entry, position)) if depth == 2 else rows.append([_Entry(entry, position)])
            entries += 1
            if entries > MAX_ENTRIES:
                raise _fail(text, start, f"more than {MAX_ENTRIES:,} entries", "a smaller matrix")
        expects_entry = part == "["
    if depth or not rows:
        raise _fail(text, len(text), "the matrix is not complete", "a closing bracket" if depth else "[[1, 2], [3, 4]]")
    return rows


def _latex_rows(text: str) -> list[list[_Entry]]:
    """The entries of a LaTeX matrix by rows."""
    opening = _BEGIN.search(text)
    if opening is None:
        raise _fail(
            text, text.index("\\begin"), "not a matrix", "pmatrix, bmatrix, Bmatrix, matrix, smallmatrix or array"
        )
    end_command = f"\\end{{{opening.group('name')}}}"
    end = text.find(end_command, opening.end())
    if end < 0:
        raise _fail(text, len(text), "the matrix is not complete", end_command)
    outside = ((0, opening.start()), (end + len(end_command), len(text)))
    for start, stop in outside:
        around = _AROUND.match(text, start, stop)
        if around is None or around.end() < stop:
            position = start if around is None else around.end()
            raise _fail(text, position, "text beside the matrix", "brackets or nothing")
    rows, start = [], opening.end()
    lines = text[start:end].split("\\\\")
    if len(lines) > 1 and not lines[-1].strip(" \t\r\n"):
        lines.pop()
    for line in lines:
        row = []
        for entry in line.split("&"):
            row.append(_Entry(entry.strip(" \t\r\n"), start + len(entry) - len(entry.lstrip(" \t\r\n"))))
            start += len(entry) + 1
        rows.append(row)
        start += 1
    return rows


def _check_shape(text: str, rows: list[list[_Entry]]) -> None:
    width = len(rows[0])
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise _fail(text, row[0].start, f"row {number} has {len(row)} entries", f"{width}, as in the first row")
    if len(rows) * width > MAX_ENTRIES:
        raise _fail(text, 0, f"more than {MAX_ENTRIES:,} entries", "a smaller matrix")


def _value(text: str, entry: _Entry) -> float:
    """The nearest double of a decimal or fraction."""
    if len(entry.text) <= _MAX_NUMBER and _SIMPLE.fullmatch(entry.text) and math.isfinite(value := float(entry.text)):
        return value
    entry_text = _SPACE.sub(" ", entry.text)
    number = None
    if len(entry_text) <= _MAX_NUMBER:
        number = _NUMBER.fullmatch(entry_text) or _LATEX_NUMBER.fullmatch(entry_text)
    if number is None:
        what = "an entry is missing" if not entry_text else "not a number"
        raise _fail(text, entry.start, what, "a decimal, a fraction such as 1/3, or 2.5e3")
    try:
        value = _signed(number.groupdict(default=""))
    except (OverflowError, ZeroDivisionError):
        value = math.inf
    if not math.isfinite(value):
        raise _fail(
            text, entry.start, "not a finite double", "a number of magnitude below 1.8e308, no division by zero"
        )
    return value


def _signed(parts: dict[str, str]) -> float:
    negative = (parts["sign"] == "-") != (parts.get("inner") == "-")
    if parts.get("m"):
        size = float(f"{parts['m']}e{parts['digit'] or parts['power']}")
    elif not parts["q"]:
        size = float(parts["p"])
    elif parts["p"].isdigit() and parts["q"].isdigit():
        size = int(parts["p"]) / int(parts["q"])
    else:
        size = float(parts["p"]) / float(parts["q"])
    return -size if negative else size
