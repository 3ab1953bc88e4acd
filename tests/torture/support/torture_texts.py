"""Texts that break parsers, verifiers and stacks: very deep, very long, or with values of absurd size."""

from __future__ import annotations

import resource
import time
from typing import Any

TEXTS: dict[str, str] = {
    "parentheses": "(" * 100_000 + "x" + ")" * 100_000,
    "open parentheses": "(" * 100_000 + "x",
    "nested functions": "sin(" * 100_000 + "x" + ")" * 100_000,
    "signs": "-" * 100_000 + "x",
    "powers of x": "x" + "**x" * 100_000,
    "powers with carets": "^".join(["x"] * 100_000),
    "sum": "+".join(["x"] * 100_000),
    "product": "*".join(["x"] * 100_000),
    "sum of sines": "+".join(f"sin({i}*x)" for i in range(20_000)),
    "digits": "9" * 1_000_000,
    "digits times x": "9" * 1_000_000 + "*x",
    "decimal digits": "0." + "3" * 1_000_000,
    "scientific notation": "1e1000000000",
    "exponent of many digits": "x**" + "9" * 1_000_000,
    "tower": "9**9**9**9**9",
    "tower from below": "((((9**9)**9)**9)**9)**9",
    "tower with carets": "9^9^9^9",
    "tower over x": "x**9**9**9",
    "negative tower": "2**-9**9**9",
    "tower of fractions": "(2/3)**9**9**9",
    "tower of 2x": "(2*x)**9**9",
    "tower of roots": "sqrt(2)**(10**9)",
    "tower of exponentials": "exp(exp(exp(exp(exp(9)))))",
    "exponentials of x": "exp(exp(exp(exp(exp(exp(x))))))",
    "division by zero": "1/0",
    "zero to the power of zero": "0**0",
    "reciprocal of zero": "0**(-1)",
    "logarithm of zero": "ln(0)",
    "large power of a sum": "(x+1)**1000000",
    "power of a long sum": "(x+sin(x)+exp(x)+1)**1000",
    "product of large powers": "(1+x)**200*(1+sin(x))**200*(1+exp(x))**200",
    "nested tangents": "tan(" * 60 + "x" + ")" * 60,
    "continued fraction": "1/(x+" * 300 + "1" + ")" * 300,
    "LaTeX fractions": r"\frac{1}{" * 50_000 + "x" + "}" * 50_000,
    "LaTeX braces": "{" * 100_000 + "x" + "}" * 100_000,
    "LaTeX roots": r"\sqrt{" * 50_000 + "x" + "}" * 50_000,
    "LaTeX parentheses": r"\left(" * 50_000 + "x" + r"\right)" * 50_000,
    "LaTeX powers": "x^{" * 50_000 + "x" + "}" * 50_000,
    "nested functions as tokens": "sin " * 100_000 + "x",
    "sum as tokens": "add " * 100_000 + "x " * 100_001,
    "tower as tokens": "pow INT+ 9 pow INT+ 9 pow INT+ 9 INT+ 9",
    "powers of powers as tokens": "pow5 " * 60 + "INT+ 9",
    "powers of 2x as tokens": "pow5 " * 60 + "mul INT+ 2 x",
    "powers of x as tokens": "pow x " * 2_000 + "x",
    "squares as tokens": "pow2 " * 2_000 + "add x INT+ 1",
    "digits as tokens": "INT+ " + "9 " * 1_000_000,
    "lists": "[" * 100_000 + "1" + "]" * 100_000,
    "digits in a list": "[[" + "9" * 1_000_000 + "]]",
    "fraction of many digits": "[[" + "9" * 1_000_000 + "/" + "7" * 1_000_000 + "]]",
    "large float": "[[1e999999999]]",
    "long list": "[" + ",".join(["1"] * 1_000_000) + "]",
    "many rows": "[" + ",".join(["[1]"] * 300_000) + "]",
    "long LaTeX matrix": r"\begin{pmatrix}" + r"1&2\\" * 200_000 + r"\end{pmatrix}",
    "NUL": "x\0x",
    "surrogate": "x\ud800",
    "other digits": "x²+١",
    "empty": "",
    "spaces": " " * 1_000_000,
    "long name": "a" * 1_000_000,
    "nan": "nan",
    "infinity": "[[inf]]",
    "NaN of JSON": "[[NaN, 1], [1, Infinity]]",
    "boxed": r"\boxed{" * 50_000 + "x" + "}" * 50_000,
    "code": "__import__('os').system('touch /tmp/mathpipe-ran-code')",
    "format": "{0.__class__.__mro__}%s%n" * 1_000,
}
GOOD: dict[str, tuple[str, str]] = {
    "integration-bwd": ("x", "x**2/2"),
    "ode1": ("y' + y", "c*exp(-x)"),
    "ode2": ("y'' + y", "c1*cos(x) + c2*sin(x)"),
    "inverse": ("[[2, 1], [1, 1]]", "[[1, -1], [-1, 2]]"),
    "eigenvalues": ("[[2, 1], [1, 2]]", "[[3], [1]]"),
    "gcd": ("[12, 18]", "6"),
    "fraction-add": ("[1, 2, 1, 3]", "[5, 6]"),
    "polynomial-roots": ("[[1, -3, 2]]", "[[1, 0], [2, 0]]"),
    "sort": ("[3, 1, 2]", "[1, 2, 3]"),
    "xor": ("0 1 1 1", "1 0"),
}
_GOOD_IN_NOTATION: dict[tuple[str, str | None], tuple[str, str]] = {
    ("integration-bwd", "tokens"): ("sub Y' x", "mul div INT+ 1 INT+ 2 pow2 x"),
    ("integration-bwd", "latex"): ("x", r"\frac{x^2}{2}"),
    ("ode1", "tokens"): ("add Y' Y", "mul a8 exp mul INT- 1 x"),
    ("ode1", "latex"): ("y' + y", "c e^{-x}"),
    ("ode2", "tokens"): ("add Y'' Y", "add mul a8 cos x mul a9 sin x"),
    ("ode2", "latex"): ("y'' + y", r"c_1 \cos x + c_2 \sin x"),
    ("xor", "lists"): ('["0", "1", "1", "1"]', '["1", "0"]'),
}


def good_pair(task: str, notation: str | None) -> tuple[str, str]:
    """A problem and a right answer in a notation."""
    return _GOOD_IN_NOTATION.get((task, notation), GOOD[task])


def verify_texts(task: str, notation: str | None, names: list[str]) -> list[tuple[str, str, str, float, float]]:
    """Each text as answer and as problem: (name and side, outcome, reason, seconds of the CPU, MB by which the peak grew)."""
    from mathpipe.generate.answers.answer_verifier import Answer, AnswerVerifier
    from mathpipe.generate.tasks.task_registry import load_task

    verifier = AnswerVerifier(load_task(task), notation, seconds=4.0)
    problem, answer = good_pair(task, notation)
    results = []
    for name in names:
        for side in ("answer", "problem"):
            text: Any = TEXTS[name]
            started, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            (result,) = verifier.verify([Answer(problem, text) if side == "answer" else Answer(text, answer)])
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
            seconds = time.process_time() - started
            results.append((f"{name} as {side}", result.outcome, result.reason or "", seconds, grown))
    return results
