"""Problems as text, each with a ``score`` of answers: an endless, seeded, resumable stream, such as a reinforcement learner needs.

The problems are those of a dataset of the same spec in chunks of 100 examples, so that a chunk is sampled in well under a second
for most tasks; they belong to one split, ``train`` by default, and so never to the test split of any dataset of the task.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.examples import Examples
from mathpipe.datasets.problem_types.type_registry import problem_type_of
from mathpipe.generate.answers.answer_text import Extraction
from mathpipe.generate.answers.answer_verifications import AnswerVerification
from mathpipe.generate.answers.answer_verifier import SECONDS, AnswerVerifier, ParsedAnswer
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.splits import TEST, TRAIN, VALID
from mathpipe.generate.tasks.task_registry import load_task_with, task_of

Style = Literal["plain", "latex"]
_CHUNK_ROWS = 100


@dataclass(frozen=True)
class PosedProblem:
    """A problem of an environment. ``solution``: a right answer in plain text; ``number``: the position in the stream."""

    text: str
    solution: str
    number: int
    _verifier: AnswerVerifier
    _problem: Any
    _solution: Any

    def score(self, answer: object) -> AnswerVerification:
        """The outcome of an answer, text or plain values; no answer raises an error."""
        parsed = self._verifier.parse_answer(answer)
        if isinstance(parsed, AnswerVerification):
            return parsed
        return self._verifier.verify_parsed([ParsedAnswer(self._problem, parsed, self._solution)])[0]


class Environment(Iterator[PosedProblem]):
    """An endless stream of problems of a spec. Problem i depends on spec and i alone."""

    def __init__(self, spec: DatasetSpec, split: str, style: Style, verifier: AnswerVerifier) -> None:
        if split not in (TRAIN, VALID, TEST):
            raise UserError(f"there is no split {split!r}", expected=f"{TRAIN}, {VALID} or {TEST}", got=split)
        if style not in ("plain", "latex"):
            raise UserError(f"there is no style {style!r}", expected="plain or latex", got=style)
        self.spec = spec.model_copy(update={"chunk_rows": min(spec.chunk_rows, _CHUNK_ROWS)})
        self.split = split
        self._style, self._verifier = style, verifier
        self._values = self.spec.model_dump(mode="json")
        self._type = problem_type_of(self._values)
        self._number = self._chunk = self._row = 0
        self._examples: Examples | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> PosedProblem:
        while self._examples is None or self._row >= len(self._examples):
            if self._examples is not None:
                self._chunk, self._row = self._chunk + 1, 0
            chunks = self._verifier.task.build_chunk(self.spec, self._chunk, [self.split])
            self._examples = chunks[self.split].examples
        examples, i = self._examples, self._row
        values = self._type.values(self._values, examples, i)
        problem = PosedProblem(
            self._latex(values["problem"]) if self._style == "latex" else self._plain(values["problem"]),
            self._plain(values["solution"]),
            self._number,
            self._verifier,
            examples.solved[i],
            examples.solutions[i],
        )
        self._row, self._number = self._row + 1, self._number + 1
        return problem

    def _latex(self, value: Any) -> str:
        return self._type.latex(self._values, value)

    def _plain(self, value: Any) -> str:
        plain = self._type.json_value(self._values, value)
        return plain if isinstance(plain, str) else json.dumps(plain)

    def state_dict(self) -> dict[str, Any]:
        """The position in the stream, as plain values."""
        return {
            "fingerprint": self.spec.fingerprint,
            "split": self.split,
            "chunk": self._chunk,
            "row": self._row,
            "number": self._number,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue at a position; UserError if it is one of another stream."""
        current = self.state_dict()
        for name in ("fingerprint", "split"):
            if state.get(name) != current[name]:
                raise UserError(
                    f"the state belongs to an environment of another {'spec' if name == 'fingerprint' else name}",
                    expected=str(current[name])[:12],
                    got=str(state.get(name))[:12],
                    next_step="create the environment with the same task, options and seed",
                )
        self._chunk, self._row, self._number = (int(state[name]) for name in ("chunk", "row", "number"))
        self._examples = None


def environment(
    task: str | DatasetSpec,
    *,
    seed: int | None = None,
    split: str = TRAIN,
    style: Style = "plain",
    notation: str | None = None,
    extract: Extraction | None = None,
    seconds: float = SECONDS,
    **options: Any,
) -> Environment:
    """The endless stream of problems of a task, or of a spec, each with a ``score`` method.

    ``options``: parameters of the problems, such as ``dim=3``. ``seed``: 0, or that of the spec. ``style``: ``latex`` poses
    problems in LaTeX. ``notation``, ``extract``, ``seconds``: of answers, see ``verify``. ``state_dict`` and
    ``load_state_dict`` resume it.
    """
    if isinstance(task, DatasetSpec):
        if options:
            raise UserError("a spec has its options already", expected="no options", got=", ".join(options))
        spec = task if seed is None else task.model_copy(update={"seed": seed})
        loaded = task_of(spec)
    else:
        loaded = load_task_with(task, options)
        spec = loaded.make_spec({}, seed or 0)
    return Environment(spec, split, style, AnswerVerifier(loaded, notation, extract, seconds=seconds))
