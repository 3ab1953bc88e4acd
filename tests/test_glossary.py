"""One term for one thing: no private word of earlier versions names anything, in the package or in its tests.

Checked: names in the Python sources, strings that are identifiers (keys, columns, options, flags), keys of the YAML files and
module names. Not checked: prose.

Some words of earlier versions are standard terms for other things and stay allowed: the row of a matrix or a Parquet file, the
block of a page, the stream of a generator, the pool of an executor, the order of an equation, the body of a page, ``start``.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("pipeline", "generate", "train", "evaluate", "datasets", "tests")
YAML_FILES = ("params.yaml", "dvc.yaml")

CONTENT = "the content: predictions, errors, matching_rows, ..."
# Word -> what to say instead. It may be no part of a name: ``law`` is a part of ``law_of`` and ``MatrixLaw``, not of ``lawt``.
PARTS = {
    **dict.fromkeys(("law", "laws"), "spec"),
    "operand": "problem",
    **dict.fromkeys(("letters", "lettered"), "task tokens, task ids"),
    **dict.fromkeys(("verdict", "verdicts", "judge", "judged", "judges"), "outcome, verification, verify"),
    **dict.fromkeys(("barren", "dear"), "exhausted, rejected, expensive"),
    **dict.fromkeys(("claim", "claims", "claimed"), "lock"),
    **dict.fromkeys(
        ("attainable", "imitator", "yardstick", "yardsticks"), "best representable, rounded reference, baseline"
    ),
    **dict.fromkeys(("confusion", "confusions"), "wrong-problem answers"),
    **dict.fromkeys(("say", "says", "saying", "said", "told", "found", "kept", "mine", "theirs"), CONTENT),
    **dict.fromkeys(("draw", "draws", "drawn"), "sample, render, plot"),
    **dict.fromkeys(("house", "door"), "package, import rule"),
    **dict.fromkeys(("tally", "tallies"), "counts"),
    "losing": "loss module",
    "mending": "repair hint",
    "newest": "latest",
    "nowhere": "NoPositions",
    "overlaid": "merge",
    "partner": "integration-by-parts candidate",
    "prospects": "heuristics",
    "separation": "discriminability",
    "sitting": "session",
    "subject": "evaluation data",
    "ways": "the options' names",
    "whatever": "what does not matter, by name",
    "yours": CONTENT,
}
# May be no variable, parameter or attribute by itself; ``held_out`` and ``total_known`` are names of their content.
VARIABLES = {
    **dict.fromkeys(("read", "known", "written", "own", "made", "given", "asked", "lost", "gone"), CONTENT),
    **dict.fromkeys(("hold", "held"), "freeze; lock"),
    **dict.fromkeys(("word", "words"), "token, tokens"),
    "places": "positions, points, paths",
    "joined": "initialised; concatenated",
    "turn": "rotary; rotation",
}
# May be no name as a whole.
NAMES = {
    **dict.fromkeys(("Made", "Built", "Done", "Described"), "DatasetResult, ShardResult, EvaluationSummary"),
    **dict.fromkeys(("exact_operands", "clean_operand"), "round_problems, clean_problem"),
    **dict.fromkeys(("words_to_say", "stand_in"), "target mask, dummy batch"),
    **dict.fromkeys(("of_words", "of_next"), "for_source, for_target"),
    **dict.fromkeys(("begin", "first_weights"), "initialise; position, opening"),
    **dict.fromkeys(("set_aside", "aside"), "move to backup"),
    "by_the_first": "on rank zero",
    "given_up": "rejected",
    "made_with": "provenance",
    "start_from": "init_from",
}
# May name no module.
MODULES = {
    **dict.fromkeys(("rows", "row"), "sparse Adam"),
    **dict.fromkeys(("reads", "reading", "entries"), "input units"),
    **dict.fromkeys(("kind", "kinds"), "problem types"),
    **dict.fromkeys(("sharing", "programs"), "common subexpressions, array programs"),
    **dict.fromkeys(("cleaning", "inversion"), "normalisation, constant elimination"),
    **dict.fromkeys(("pool", "known"), "integration-by-parts candidates, learned table"),
    **dict.fromkeys(("precise", "cas", "families"), "high precision, SymPy fallback, test points"),
    "far": "large-argument check",
    "graphs": "cuda_graphs",
    "narrow": "autocast",
    "picture": "plot",
    "places": "positions",
    "ranks": "distributed",
    "writer": "tokenizer",
}
ALLOWED = {
    "FileNotFoundError": "exception of Python",
    "ModuleNotFoundError": "exception of Python",
    "NOT_FOUND": "status of HTTP",
    "PackageNotFoundError": "exception of Python",
    "ProfileNotFound": "exception of botocore",
    **dict.fromkeys(
        ("EntryNotFoundError", "LocalTokenNotFoundError", "RepositoryNotFoundError"), "exceptions of huggingface_hub"
    ),
    **dict.fromkeys(("EntryNotFound", "RepoNotFound"), "error codes of the Hugging Face hub"),
    "operand": "of an operator in an expression; attribute of ast.UnaryOp",
    "Operand": "of an operator in an expression",
    "_begin_operand": "of an operator in an expression",
    "draw": "argument of Hypothesis' composite strategies",
    "DrawFn": "type of Hypothesis",
    "given": "decorator of Hypothesis",
}


def parts(name: str) -> set[str]:
    """``split_laws``, ``MatrixLaw`` and ``--exact-operands`` in lower-case parts."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def names_of_python(text: str) -> Iterator[str]:
    """Names, and strings that are identifiers or flags, without the dashes before a flag."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.string
        elif token.type == tokenize.STRING and re.fullmatch(r"[bruBRU]?[\"'](--)?[a-zA-Z_][\w-]*[\"']", token.string):
            yield re.sub(r"^[bruBRU]?[\"'](--)?|[\"']$", "", token.string)


def variables_of_python(text: str) -> Iterator[str]:
    """Variables, parameters and attributes that a source assigns."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg


def names_of_yaml(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if match := re.match(r"\s*(?:- )?([\w-]+):", line):
            yield match[1]


def files(suffix: str) -> list[Path]:
    return sorted(
        file for folder in FOLDERS for file in (ROOT / folder).rglob(f"*{suffix}") if file != Path(__file__).resolve()
    )


def all_names() -> Iterator[tuple[str, str]]:
    """(file, name), module names among them."""
    for file in files(".py"):
        name = file.relative_to(ROOT).as_posix()
        yield from ((name, each) for each in {file.stem, *names_of_python(file.read_text(encoding="utf-8"))})
    for file in [*files(".yaml"), *(ROOT / name for name in YAML_FILES)]:
        name = file.relative_to(ROOT).as_posix()
        yield from ((name, each) for each in set(names_of_yaml(file.read_text(encoding="utf-8"))))


def all_variables() -> Iterator[tuple[str, str]]:
    for file in files(".py"):
        name = file.relative_to(ROOT).as_posix()
        yield from ((name, each) for each in set(variables_of_python(file.read_text(encoding="utf-8"))))


def all_modules() -> Iterator[tuple[str, str]]:
    return ((file.relative_to(ROOT).as_posix(), file.stem.removeprefix("test_")) for file in files(".py"))


def private_uses(
    names: Iterator[tuple[str, str]], private: dict[str, str], words: Callable[[str], set[str]]
) -> list[str]:
    """The names one of whose ``words`` is private, each with the term to use instead."""
    return sorted(
        f"{file}: {name!r}; say {private[word]!r} instead of {word!r}"
        for file, name in names
        if name not in ALLOWED
        for word in words(name) & private.keys()
    )


def test_no_name_has_a_private_word_as_a_part() -> None:
    assert private_uses(all_names(), PARTS, parts) == []


def test_no_name_is_private() -> None:
    assert private_uses(all_names(), NAMES, lambda name: {name}) == []


def test_variables_are_named_for_their_content() -> None:
    assert private_uses(all_variables(), VARIABLES, lambda name: {name.strip("_").lower()}) == []


def test_no_module_has_a_private_name() -> None:
    assert private_uses(all_modules(), MODULES, lambda name: {name}) == []


@pytest.mark.parametrize("word", PARTS)
def test_every_private_part_would_be_seen(word: str) -> None:
    sources = (
        f"{word}_of_x = 1",
        f"def f({word}): pass",
        f"class Matrix{word.title()}: pass",
        f"x['{word}']",
        f"x('--a-{word}')",
        f"{word.upper()}_KEY = 1",
    )
    for source in sources:
        uses = private_uses((("file", name) for name in names_of_python(source)), PARTS, parts)
        if word not in ALLOWED or word not in names_of_python(source):
            assert uses, source


def test_parts_are_whole_words() -> None:
    assert "law" not in parts("lawt_flaw") and parts("exact-operands") == {"exact", "operands"}
    assert set(names_of_python('x = {"number": law.digest}')) >= {"number", "law", "digest"}
    assert list(names_of_yaml("generate:\n  letters: TADM\n")) == ["generate", "letters"]


def test_every_kind_of_variable_would_be_seen() -> None:
    source = (
        "def f(held, *lost): self.own = [word for word in x]\nwith x as made: pass\nfor known, _ in x: pass\nx.read()"
    )
    uses = private_uses((("file", name) for name in variables_of_python(source)), VARIABLES, lambda name: {name})
    assert [use.split("'")[1] for use in uses] == ["held", "known", "lost", "made", "own", "word"]
