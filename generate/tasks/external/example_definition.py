"""A task as a module or object with a function ``example(rng, spec) -> (problem, answer)``, and how its examples are computed.

==================  ===============================================================================================
``example``         required: one example; ``rng`` is a ``numpy.random.Generator``, ``spec`` the parameters
``verify``          ``verify(problem, answer, prediction) -> bool`` where answers are not unique; else predictions must equal them
``Spec``            a pydantic model of the parameters: each field is an option with its bounds, default and description
``name``            name of the task; default: that of the file or class
``problem_layout``  such as ``"(int, int)"`` or ``"[int]"``; default: that of the first examples; so ``answer_layout``
``answer_class``    ``answer_class(problem, answer) -> int``: evaluations report accuracy by this class
``alphabet``        problems and answers are strings of these characters
``notation``        ``"infix"`` or ``"prefix"``: problems and answers are expressions
``time_limit``      seconds that a call may take, 60 by default
==================  ===============================================================================================
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from mathpipe.datasets.errors import UserError, nearest
from mathpipe.generate.tasks.external.guarded_calls import Guard

TIME_LIMIT = 60.0
PAIR = "example(rng, spec) returns a pair (problem, answer)"
_CALLABLES = {
    "example": ("rng", "spec"),
    "verify": ("problem", "answer", "prediction"),
    "answer_class": ("problem", "answer"),
}
_TEXTS = ("name", "problem_layout", "answer_layout", "alphabet", "notation")


@dataclass(frozen=True)
class ExampleDefinition:
    """The parts of a task of examples, checked. ``path``: its file."""

    path: str
    name: str
    description: str
    example: Callable[[np.random.Generator, Any], Any]
    verify: Callable[[Any, Any, Any], Any] | None
    answer_class: Callable[[Any, Any], Any] | None
    spec_model: type[BaseModel] | None
    problem_layout: str | None
    answer_layout: str | None
    alphabet: str | None
    notation: str | None
    time_limit: float

    def guard(self, describe: Callable[[int], str], expected: str = PAIR) -> Guard:
        """The guard of calls of this task."""
        return Guard(self.path, self.time_limit, describe, expected)

    def error(
        self, function: Callable[..., Any], what: str, expected: str, got: object, next_step: str | None = None
    ) -> UserError:
        """A UserError that names the file and the line where ``function`` begins."""
        code = getattr(inspect.unwrap(function), "__code__", None)
        line = f", line {code.co_firstlineno}" if code is not None else ""
        return UserError(f"{Path(self.path).name}{line}: {what}", expected=expected, got=got, next_step=next_step)

    def examples(
        self, rng: np.random.Generator, spec: Any, first: int, count: int, describe: Callable[[int], str]
    ) -> list[tuple[Any, Any]]:
        """``count`` examples from one generator, the first of number ``first``. UserError names the example that fails."""
        pairs = []
        with self.guard(describe)() as watchdog:
            for number in range(first, first + count):
                watchdog.restart(number)
                pair = self.example(rng, spec)
                if not isinstance(pair, tuple) or len(pair) != 2:
                    raise self.error(self.example, f"{describe(number)} is no pair", PAIR, shown(pair))
                pairs.append(pair)
        return pairs

    def verified(self, triples: list[tuple[Any, Any, Any]], describe: Callable[[int], str]) -> list[bool]:
        """``verify`` of each (problem, answer, prediction). UserError if it fails or returns anything but a Boolean."""
        assert self.verify is not None
        expected, results = "verify(problem, answer, prediction) returns True or False", []
        with self.guard(describe, expected)() as watchdog:
            for number, triple in enumerate(triples):
                watchdog.restart(number)
                result = self.verify(*triple)
                if not isinstance(result, bool | np.bool_):
                    raise self.error(self.verify, describe(number), expected, shown(result))
                results.append(bool(result))
        return results

    def classes(self, pairs: list[tuple[Any, Any]], describe: Callable[[int], str]) -> list[int]:
        """``answer_class`` of each pair."""
        assert self.answer_class is not None
        expected, results = "answer_class(problem, answer) returns an integer", []
        with self.guard(describe, expected)() as watchdog:
            for number, pair in enumerate(pairs):
                watchdog.restart(number)
                result = self.answer_class(*pair)
                if not isinstance(result, int | np.integer):
                    raise self.error(self.answer_class, describe(number), expected, shown(result))
                results.append(int(result))
        return results


def define_examples(parts: Any, path: str, default_name: str) -> ExampleDefinition:
    """The definition that a module or an object holds; UserError names the part that is wrong."""
    values = {name: _text(parts, name, path) for name in _TEXTS}
    spec_model = getattr(parts, "Spec", None)
    if spec_model is not None and not (isinstance(spec_model, type) and issubclass(spec_model, BaseModel)):
        raise _wrong_part(path, "Spec", "a class derived from pydantic.BaseModel", spec_model)
    limit = getattr(parts, "time_limit", TIME_LIMIT)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0:
        raise _wrong_part(path, "time_limit", "a number of seconds above 0", limit)
    if values["notation"] not in (None, "infix", "prefix"):
        raise _wrong_part(path, "notation", "infix or prefix", values["notation"])
    if values["notation"] is not None and values["alphabet"] is not None:
        raise _wrong_part(
            path, "alphabet", "alphabet (strings) or notation (expressions), not both", values["alphabet"]
        )
    functions = {name: _function(parts, name, path) for name in _CALLABLES}
    example = functions["example"]
    assert example is not None
    return ExampleDefinition(
        path=path,
        name=values["name"] or default_name,
        description=_first_line(parts),
        example=example,
        verify=functions["verify"],
        answer_class=functions["answer_class"],
        spec_model=spec_model,
        problem_layout=values["problem_layout"],
        answer_layout=values["answer_layout"],
        alphabet=values["alphabet"],
        notation=values["notation"],
        time_limit=float(limit),
    )


def _function(parts: Any, name: str, path: str) -> Callable[..., Any] | None:
    """The function of this name, None if there is none; UserError if it does not take the documented arguments."""
    function = getattr(parts, name, None)
    if function is None and name == "example":
        names = [other for other in vars(parts) if not other.startswith("_")] if hasattr(parts, "__dict__") else []
        near = nearest(name, names)
        raise UserError(
            f"{Path(path).name} defines no task",
            expected="a function example(rng, spec) that returns (problem, answer), or a subclass of a mathpipe Task",
            got=", ".join(names[:8]) or "no public name",
            next_step=f"rename {near} to example"
            if near
            else "define example(rng, spec); docs/guides/own-tasks.md shows how",
        )
    if function is None:
        return None
    arguments = _CALLABLES[name]
    try:
        inspect.signature(function).bind(*arguments)
    except (TypeError, ValueError) as error:
        raise _wrong_part(path, name, f"a function {name}({', '.join(arguments)})", str(error)) from None
    result: Callable[..., Any] = function
    return result


def _text(parts: Any, name: str, path: str) -> str | None:
    value = getattr(parts, name, None)
    if value is not None and not (isinstance(value, str) and value):
        raise _wrong_part(path, name, "a text", value)
    return value


def _first_line(parts: Any) -> str:
    return (inspect.getdoc(parts) or "").partition("\n")[0].rstrip(".")


def _wrong_part(path: str, name: str, expected: str, got: object) -> UserError:
    return UserError(f"{Path(path).name}: {name} cannot be used", expected=expected, got=shown(got))


def shown(value: object) -> str:
    """The value for an error message, shortened."""
    text = f"{type(value).__name__} {value!r}" if not isinstance(value, str) else repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
