"""One term for one thing: private words of earlier versions stand in no identifier, key, flag or column.

Checked: every name in the Python sources, every string that is a plain identifier (keys, columns, options) and every flag and key
of the command line and the YAML files. Not checked: prose.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("pipeline", "generate", "train", "evaluate", "datasets")
# private word -> what to say instead
PRIVATE = {
    "law": "spec",
    "laws": "specs",
    "operand": "problem",
    "letters": "task tokens",
    "lettered": "has task tokens",
    "verdict": "outcome, verification",
    "verdicts": "outcomes, verification",
    "judge": "verify",
    "judged": "verified",
    "barren": "exhausted, rejected, expensive",
    "claimed": "locked",
    "attainable": "best representable",
    "yardstick": "baseline",
    "yardsticks": "baselines",
    "sitting": "session",
    "losing": "loss module",
    "nowhere": "NoPositions",
    "confusions": "wrong-problem answers",
    "told": "name the content",
    "found": "name the content",
    "mine": "name the content",
    "theirs": "name the content",
}
"""Whole parts of a name: ``law`` is a part of ``law_of`` and of ``MatrixLaw``, not of ``lawt``."""
ALLOWED = {
    "FileNotFoundError",  # exceptions of others
    "ModuleNotFoundError",
    "ProfileNotFound",
    *("operand", "Operand", "_begin_operand"),  # of an operator in an expression
}


def parts(name: str) -> set[str]:
    """``split_laws``, ``MatrixLaw`` and ``--exact-operands`` in lower-case parts."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def names_of_python(text: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.string
        elif token.type == tokenize.STRING and re.fullmatch(r"[bru]?[\"'](--)?[a-zA-Z_][\w-]*[\"']", token.string):
            yield token.string.strip("bru\"'-")


def names_of_yaml(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if match := re.match(r"\s*(?:- )?([\w-]+):", line):
            yield match[1]


def sources() -> Iterator[tuple[str, Iterator[str]]]:
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield file.relative_to(ROOT).as_posix(), names_of_python(file.read_text())
        for file in sorted((ROOT / folder).rglob("*.yaml")):
            yield file.relative_to(ROOT).as_posix(), names_of_yaml(file.read_text())
    for name in ("params.yaml", "dvc.yaml"):
        yield name, names_of_yaml((ROOT / name).read_text())


@pytest.mark.parametrize("word", PRIVATE)
def test_private_words_name_nothing(word: str) -> None:
    uses = sorted(
        f"{file}: {name}"
        for file, names in sources()
        for name in set(names)
        if word in parts(name) and name not in ALLOWED
    )
    assert not uses, f"say {PRIVATE[word]!r} instead of {word!r}"


def test_a_private_word_would_be_seen() -> None:
    assert "law" in parts("split_law") & parts("MatrixLaw") & parts("LAW_KEY") and "law" not in parts("lawt_flaw")
    assert set(names_of_python('x = {"exact_operands": law.digest}')) >= {"exact_operands", "law", "digest"}
    assert list(names_of_yaml("generate:\n  letters: TADM\n")) == ["generate", "letters"]
