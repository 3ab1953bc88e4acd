"""Lines of imported files as verified pairs: text or JSON Lines, in prefix tokens, infix or LaTeX.

A problem of an integration task is written as the integrand f or as ``y' = f``, one of a differential equation as an equation
or as the expression that is zero; an answer as F or as ``y = F``. A constant added to an antiderivative is dropped where the
task has none. Nothing in a file is evaluated. Lines are processed in batches that do not depend on one another.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.infix import parse_infix_equation
from mathpipe.datasets.expressions.latex import parse_latex_equation
from mathpipe.datasets.expressions.lexemes import CONSTANTS_OF_INTEGRATION
from mathpipe.datasets.expressions.prefix import MAX_DEPTH, Malformed, Tree, parse, write
from mathpipe.datasets.expressions.vocabulary import COEFFICIENTS, IDS, TOKENS, UNKNOWNS, VARIABLES
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.io.published_text import MAX_LINE_BYTES, Line, Pair, RejectedLine, parse_lines
from mathpipe.generate.dataset_spec import TextFormat
from mathpipe.generate.tasks.task_registry import expression_task
from mathpipe.generate.tasks.token_task import ExpressionTask

NO_PAIR, FOREIGN = "not a pair", "symbols of another task"
_EQUATION_PARSERS = {"infix": parse_infix_equation, "latex": parse_latex_equation}
_SYMBOLS = bytes(IDS[token] for token in (*VARIABLES, *COEFFICIENTS, *UNKNOWNS))
_ADD, _SUB = IDS["add"], IDS["sub"]
_Y: Tree = (IDS["Y"],)
_Y_PRIME: Tree = (IDS["Y'"],)


@dataclass(frozen=True)
class VerifiedBatch:
    """The examples of a batch of lines; ``rejected``: (kind, line) of the others in order; ``num_verified``: verified answers."""

    rows: TokenExamples
    rejected: list[tuple[str, RejectedLine]]
    num_verified: int


def verified_pairs(task: str, text: TextFormat, check: bool, lines: Sequence[Line]) -> VerifiedBatch:
    """The pairs of a batch of lines that belong to the task and, with ``check``, are right."""
    named_task = expression_task(task)
    pairs: list[Pair] = []
    rejected: list[tuple[str, RejectedLine]] = []
    for result in _parse(named_task, text, lines):
        if isinstance(result, RejectedLine):
            rejected.append((NO_PAIR, result))
        elif (reason := _foreign_symbol(named_task, result)) is not None:
            rejected.append((FOREIGN, result.reject(reason)))
        else:
            pairs.append(result)
    rows = _rows(pairs)
    if check and pairs:
        outcomes = named_task.verify(rows.problems, rows.solutions, rows.solutions).outcome.tolist()
        names = [named_task.outcomes[k] for k in outcomes]
        correct = [name in named_task.correct_outcomes for name in names]
        for pair, name, is_correct in zip(pairs, names, correct, strict=True):
            if not is_correct:
                line = pair.reject(f"its solution is not correct ({name})")
                rejected.append((f"solution not correct ({name})", line))
        rows = rows.take(np.flatnonzero(correct))
    order = {(line.file, line.number): k for k, line in enumerate(lines)}
    rejected.sort(key=lambda item: order[item[1].file, item[1].number])
    return VerifiedBatch(rows, rejected, len(pairs) if check else 0)


def _rows(pairs: Sequence[Pair]) -> TokenExamples:
    problems, solutions = ([getattr(pair, side) for pair in pairs] for side in ("problem", "solution"))
    row = np.zeros(len(pairs), dtype=np.int64)
    return TokenExamples(row, Sequences.from_list(problems), Sequences.from_list(solutions))


def _parse(task: ExpressionTask, text: TextFormat, lines: Sequence[Line]) -> list[Pair | RejectedLine]:
    if text.format == "text" and text.notation == "tokens":
        return parse_lines(lines)
    results: list[Pair | RejectedLine] = []
    for line in lines:
        sides = _read_sides(text, line.text)
        if sides is None:
            continue
        if isinstance(sides, str):
            results.append(line.reject(sides))
        elif text.notation == "tokens":
            tokens = "\t".join(side.replace("\t", " ") for side in sides)
            results += parse_lines([Line(line.file, line.number, tokens.encode(errors="replace"))])
        else:
            results.append(_parse_notation(task, text.notation, line, sides))
    return results


def _read_sides(text: TextFormat, line: bytes) -> tuple[str, str] | str | None:
    """The texts of problem and solution, why there are none, or None for an empty line of JSON Lines."""
    if len(line) > MAX_LINE_BYTES:
        return f"longer than {MAX_LINE_BYTES:,} bytes"
    if text.format == "text":
        problem, tab, solution = line.decode(errors="replace").partition("\t")
        return (problem, solution) if tab and "\t" not in solution else "expected problem<TAB>solution"
    if not line.strip():
        return None
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return "not valid JSON"
    if not isinstance(values, dict):
        return "expected a JSON object"
    sides = []
    for column in (text.problem, text.solution):
        if column not in values:
            names = ", ".join(ascii(name)[:40] for name in list(values)[:5])
            return f"no column {column!r}, but {names or 'none'}"
        if not isinstance(values[column], str):
            return f"column {column!r} is not text"
        sides.append(values[column])
    return sides[0], sides[1]


def _parse_notation(task: ExpressionTask, notation: str, line: Line, sides: tuple[str, str]) -> Pair | RejectedLine:
    parse_equation = _EQUATION_PARSERS[notation]
    ids = []
    for name, side, to_tree in (("problem", sides[0], _problem), ("solution", sides[1], _solution)):
        try:
            tokens = write(to_tree(task, *parse_equation(side)))
            if len(tokens) > MAX_DEPTH:
                parse(tokens)  # raises Malformed beyond the limits of stored expressions
        except (UserError, Malformed) as error:
            return line.reject(f"{name}: {error}")
        ids.append(tokens)
    return Pair(ids[0], ids[1], line.file, line.number)


def _problem(task: ExpressionTask, left: Tree, right: Tree | None) -> Tree:
    """y' - f for an integral, otherwise the expression that is zero."""
    is_integral = task.symbols is not None and "Y'" in task.symbols[0] and "Y" not in task.symbols[0]
    if not is_integral:
        return left if right is None or right == 0 else (_SUB, left, right)
    if right is not None:
        if left != _Y_PRIME:
            raise UserError("an equation that is no integral", expected="f(x) or y' = f(x)")
        return (_SUB, _Y_PRIME, right)
    if isinstance(left, tuple) and left[0] == _SUB and left[1] == _Y_PRIME:
        return left
    return (_SUB, _Y_PRIME, left)


def _solution(task: ExpressionTask, left: Tree, right: Tree | None) -> Tree:
    """The right side of ``y = F``, without an added constant that the task's solutions do not have."""
    if right is not None and left != _Y:
        raise UserError("an equation that is no solution", expected="F(x) or y = F(x)")
    solution = left if right is None else right
    if task.symbols is not None and CONSTANTS_OF_INTEGRATION[0] not in task.symbols[1]:
        return _without_added_constant(solution)
    return solution


def _without_added_constant(tree: Tree) -> Tree:
    """F for F + C, where sums nest to the right."""
    terms: list[Tree] = []
    while isinstance(tree, tuple) and tree[0] == _ADD:
        terms.append(tree[1])
        tree = tree[2]
    constant = (IDS[CONSTANTS_OF_INTEGRATION[0]],)
    if not terms or tree != constant:
        terms.append(tree)
    result = terms.pop()
    for term in reversed(terms):
        result = (_ADD, term, result)
    return result


def _foreign_symbol(task: ExpressionTask, pair: Pair) -> str | None:
    """Describes the first symbol of a pair that its task does not use; None if there is none."""
    if task.symbols is None:
        return None
    for side, tokens, allowed in zip(("problem", "solution"), (pair.problem, pair.solution), task.symbols, strict=True):
        foreign = tokens.translate(None, _all_but_foreign(allowed))
        if foreign:
            return f"{side}: {TOKENS[foreign[0]]!r} does not occur in a {side} of {task.name}"
    return None


@functools.cache
def _all_but_foreign(allowed: tuple[str, ...]) -> bytes:
    """All ids except those of symbols that are not allowed."""
    foreign = set(_SYMBOLS) - {IDS[token] for token in allowed}
    return bytes(k for k in range(256) if k not in foreign)
