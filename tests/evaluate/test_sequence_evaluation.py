"""Expressions go through the same evaluation: judged by their task, written, analysed, drawn; in parallel where asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.vocabulary import ARITY, IDS, TOKENS
from mathpipe.datasets.format.sequence_columns import SequenceExamples
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD
from mathpipe.evaluate.analyze.analyses import evaluation_data
from mathpipe.evaluate.analyze.baselines import BaselineCounts, ReferenceBaseline
from mathpipe.evaluate.analyze.covariates import depths, expression_covariates, operators_present
from mathpipe.evaluate.analyze.summary import compute_metrics, summary_text
from mathpipe.evaluate.build_report import build_report
from mathpipe.evaluate.decode.decoding import Hypotheses
from mathpipe.evaluate.failures.failure_rendering import render_failure
from mathpipe.evaluate.predictions import PredictionsWriter, sequence_table
from mathpipe.evaluate.problem_types import SequenceProblemType
from mathpipe.evaluate.score.sequence_scoring import VerifierPool, score_sequences
from mathpipe.generate.tasks import registry
from mathpipe.generate.tasks.sequence_base import SYMBOLIC_OUTCOMES, SequenceTask, Verification

WRITER = ExpressionTokenizer()


def words(text: str) -> bytes:
    return bytes(IDS[word] for word in text.split())


def toy_judge(problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
    """The answer to p is p itself; the outcome of others is named by their first word."""
    named = {IDS["sin"]: "partial", IDS["cos"]: "particular", IDS["tan"]: "timeout", IDS["exp"]: "undecided"}
    places = {name: k for k, name in enumerate(SYMBOLIC_OUTCOMES)}
    outcome = []
    for p, r, h in zip(problems.to_list(), references.to_list(), predicted.to_list(), strict=True):
        if h == r:
            outcome.append("exact" if r == p or r == words("add x x") else "wrong_value")
        elif h == p:
            outcome.append("equivalent")
        else:
            outcome.append(named.get(h[0], "wrong_value") if h else "malformed")
    share = np.array([0.5 if o == "partial" else np.nan for o in outcome])
    return Verification(np.array([places[o] for o in outcome], dtype=np.int8), {"partial_share": share})


def no_pairs(*_: Any) -> Any:
    raise NotImplementedError


TASK = SequenceTask(
    *("toy-same", "expressions", "an expression", "itself", "tests", no_pairs, toy_judge),
    measures=("partial_share",),
    symbols=(("x",), ("x",)),
)


def decoded_of(hypotheses: list[list[str]]) -> Hypotheses:
    """Hypotheses of each problem; one that ends in ``...`` has no END."""
    rows = [
        [IDS[w] for w in text.removesuffix(" ...").split()] + ([] if text.endswith("...") else [END])
        for ranked in hypotheses
        for text in ranked
    ]
    tokens = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    for i, row in enumerate(rows):  # unterminated: words to the end
        if END not in row:
            tokens[i, len(row) :] = IDS["x"]
    problem = np.repeat(np.arange(len(hypotheses)), [len(h) for h in hypotheses])
    rank = np.concatenate([np.arange(len(h)) for h in hypotheses])
    return Hypotheses(tokens, -np.arange(1.0, len(rows) + 1), problem, rank)


PROBLEMS = ["x", "mul x x", "sin x", "add x INT+ 1 2", "exp x", "ln x", "cos x", "mul INT+ 2 x"]
REFERENCES = [*PROBLEMS[:-1], "add x x"]
HYPOTHESES = [
    ["x", "sin x"],  # exact
    ["cos x", "tan x", "mul x x"],  # particular; the third is right
    ["tan x"],  # timeout
    ["sin x"],  # partial
    [""],  # malformed
    ["ln ln ..."],  # unterminated
    ["exp x"],  # undecided
    ["mul INT+ 2 x", "add x x"],  # equivalent: not the reference's words
]
OUTCOMES = ["exact", "particular", "timeout", "partial", "malformed", "unterminated", "undecided", "equivalent"]


@pytest.fixture
def rows() -> SequenceExamples:
    problems, references = (Sequences.from_list(map(words, texts)) for texts in (PROBLEMS, REFERENCES))
    return SequenceExamples(np.arange(10, 18), problems, references, {"operators": np.arange(8, dtype=np.int16)})


def test_every_outcome_and_rank(rows: SequenceExamples) -> None:
    scored = score_sequences(VerifierPool(TASK), WRITER, rows, decoded_of(HYPOTHESES))
    best = scored.best
    assert [SYMBOLIC_OUTCOMES[o] for o in scored.outcome[best]] == OUTCOMES
    assert scored.passed[best].tolist() == [o in ("exact", "equivalent") for o in OUTCOMES]
    np.testing.assert_array_equal(scored.correct_rank[best], [0, 2, *[np.nan] * 5, 0])
    assert scored.errors["partial_share"][best][3] == 0.5
    assert scored.reference_passed.all()


def test_the_references_own_verdict_counts(rows: SequenceExamples) -> None:
    broken = SequenceExamples(rows.row, rows.problems, Sequences.from_list([words("pow2 x")] * 8))
    scored = score_sequences(VerifierPool(TASK), WRITER, broken, decoded_of([["pow2 x"], *[["x"]] * 7]))
    assert (
        not scored.reference_passed.any()
    )  # of the first, as its exact prediction; of the others, judged for themselves
    counts = ReferenceBaseline().count_passes(scored)
    assert counts.n == 8 and counts.accuracy("reference", 0.05) == 0


PAIRS = {  # a problem and its solution
    "integration-bwd": ("sub Y' mul INT+ 2 x", "pow2 x"),
    "integration-fwd": ("sub Y' mul INT+ 2 x", "pow2 x"),
    "integration-ibp": ("sub Y' mul INT+ 2 x", "pow2 x"),
    "ode1": ("sub Y' Y", "mul a8 exp x"),
    "ode2": ("add Y'' Y", "add mul a8 cos x mul a9 sin x"),
}


def asked(task: str, n: int) -> SequenceExamples:
    problem, solution = (Sequences.from_list([words(text)] * n) for text in PAIRS[task])
    return SequenceExamples(np.arange(n), problem, solution, {})


@pytest.mark.parametrize("task", PAIRS)
def test_columns_do_not_depend_on_what_was_said(task: str) -> None:
    solution = PAIRS[task][1]
    tables = []
    for said in (f"{solution} <s>", solution, "add <s>"):  # right, without END, malformed
        scored = score_sequences(
            VerifierPool(registry.sequence_task(task)),
            WRITER,
            asked(task, 1),
            Hypotheses(np.array([[*words(said)]]), np.zeros(1)),
        )
        tables.append(sequence_table(scored, "test", WRITER, WRITER))
    assert tables[0]["passed"].to_pylist() == [True]
    assert len({str(table.schema) for table in tables}) == 1


def test_repeated_problems_count_once() -> None:
    texts = ["sub Y' x", *["sub Y' mul INT+ 2 x"] * 3]
    rows = SequenceExamples(
        np.arange(4),
        Sequences.from_list([words(text) for text in texts]),
        Sequences.from_list([words("div pow2 x INT+ 2"), *[words("pow2 x")] * 3]),
        {},
    )
    said = np.array([[*words("pow2 x <s>")]] * 4)
    task = registry.sequence_task("integration-bwd")
    predictions = sequence_table(
        score_sequences(VerifierPool(task), WRITER, rows, Hypotheses(said, np.zeros(4))), "test", WRITER, WRITER
    )
    metadata = {"outcomes": list(task.outcomes), "split": "test", "task": task.name, "decoding": "greedy"}
    subject = evaluation_data(predictions, metadata, BaselineCounts())
    metrics = compute_metrics(subject)
    assert metrics["accuracy"] == 0.75
    assert (metrics["distinct"]["problems"], metrics["distinct"]["accuracy"]) == (2, 0.5)
    assert "50.00 %   of the 2 distinct problems" in summary_text(metrics, [])


@pytest.mark.parametrize("task", PAIRS)
def test_what_the_grammar_lets_through_is_an_answer(task: str) -> None:
    verifier = VerifierPool(registry.sequence_task(task))
    kind = SequenceProblemType(cast(Any, SimpleNamespace(target=WRITER)), verifier)
    grammar = kind.grammar(asked(task, 1), 30, "cpu")
    assert grammar is not None
    begins = [TOKENS[k] for k in grammar.allowed()[0].nonzero().squeeze(1).tolist()]
    assert "x" in begins and "Y" not in begins and "t" not in begins
    answers = [f"{word} {'x ' * ARITY[word]}" if word in ARITY else f"{word} 2" for word in begins]
    rows = asked(task, len(answers))
    judged = verifier.verify(rows.problems, rows.solutions, Sequences.from_list([words(answer) for answer in answers]))
    assert SYMBOLIC_OUTCOMES.index("malformed") not in judged.outcome
    assert set(words(PAIRS[task][1])) <= _reachable(grammar)


def _reachable(grammar: Any) -> set[int]:
    """What the grammar may ever allow of leaves, operators and digits."""
    return {*(grammar._node | grammar._integer | grammar._digit).nonzero().squeeze(1).tolist()}


def test_workers_judge_the_same(rows: SequenceExamples) -> None:
    many = rows.take(np.tile(np.arange(8), 40))
    decoded = decoded_of([h[:1] for h in HYPOTHESES] * 40)
    alone = score_sequences(VerifierPool(TASK), WRITER, many, decoded)
    verifier = VerifierPool(TASK, workers=2)
    pieces = []
    verifier._pool = type("Pool", (), {"map": lambda self, f, *lists: pieces.append(len(lists[0])) or map(f, *lists)})()  # type: ignore[assignment]
    together = score_sequences(verifier, WRITER, many, decoded)
    assert pieces == [2, 2]  # predictions that were read, and references that no prediction tells of
    assert together.outcome.tolist() == alone.outcome.tolist()
    np.testing.assert_array_equal(together.errors["partial_share"], alone.errors["partial_share"])


def test_predictions_analyses_and_failures_of_expressions(
    rows: SequenceExamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.TASKS, TASK.name, TASK)
    many = rows.take(np.tile(np.arange(8), 10))
    many = SequenceExamples(np.arange(80), many.problems, many.solutions, many.columns)
    scored = score_sequences(VerifierPool(TASK), WRITER, many, decoded_of(HYPOTHESES * 10))
    table = sequence_table(scored, "test", WRITER, WRITER)
    with (tmp_path / "predictions.parquet").open("wb") as file:
        metadata = {"task": TASK.name, "split": "test", "outcomes": list(SYMBOLIC_OUTCOMES)}
        counts = ReferenceBaseline().count_passes(scored)
        writer = PredictionsWriter(file, metadata | {"baselines": counts.to_json()})
        writer.append(table)
        writer.close()
    first = pq.read_table(tmp_path / "predictions.parquet").slice(0, 1).to_pylist()[0]
    assert (first["problem_tokens"], first["reference"], first["prediction"]) == ("x", "x", "x")
    assert first["decoded"] == [IDS["x"]] and first["problem_depth"] == 0 and first["operators"] == 0
    told = build_report(Storage(str(tmp_path)), verbose=True)
    assert told.metrics["accuracy"] == 0.25 and told.metrics["accuracy_any"] == 0.375
    assert told.metrics["reference"] == 1
    assert {n: o["count"] for n, o in told.metrics["outcomes"].items() if o["count"]} == dict.fromkeys(OUTCOMES, 10)
    named = {a.name: a for a in told.analyses}
    assert {"outcomes", "by_problem_length", "by_problem_depth", "calibration"} <= named.keys()
    lines = [render_failure(failure) for failure in told.worst]
    assert any("mul x x" not in line[1] and "x" in line[1] for line in lines)
    assert "problem" in lines[0][1] and "prediction" in lines[0][3]
    page = (tmp_path / "report.html").read_text()
    assert "sin(x)" in page and "the most confident wrong answers" in page


def test_depths_and_operators() -> None:
    texts = ["x", "INT+ 1 2 3", "sin x", "add x sin cos x", "mul add x INT- 1 0 pow x INT+ 2", "ln ln ln ln x"]
    found = Sequences.from_list(map(words, texts))
    assert depths(found).tolist() == [0, 0, 1, 3, 2, 4]
    assert expression_covariates(found, found)["problem_operators"].tolist() == [0, 0, 1, 3, 3, 4]
    assert operators_present(found)["add"].tolist() == [False, False, False, True, True, False]
    assert depths(Sequences.from_list([])).tolist() == []


def test_a_whole_evaluation_of_a_toy_dataset(
    tmp_path: Path, plan_answers: Callable[..., Any], planned_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mathpipe.datasets.format.example_formats")
    from mathpipe.datasets.dataset import open_dataset
    from mathpipe.evaluate.run import evaluate_run, quick_accuracy
    from mathpipe.generate.build.dataset_builder import make_dataset
    from mathpipe.generate.layout import Layout
    from mathpipe.generate.spec import DatasetSpec

    toy = _toy_reverse()
    monkeypatch.setitem(registry.TASKS, toy.name, toy)
    spec = DatasetSpec(
        task=toy.name, problems=toy.example.model_copy(update={"min_operators": 7}), seed=1, chunk_rows=toy.chunk_rows
    )
    make_dataset(spec, Layout({"train": 200, "test": 150}, 1000), str(tmp_path / "data"), workers=0)
    dataset = open_dataset(tmp_path / "data", "test")

    def edit(i: int, row: int, said: list[int]) -> list[int]:
        return [*said[:-2], END] if i % 5 == 0 else said

    model = plan_answers(dataset, edit)
    assert quick_accuracy(model, dataset, limit=100)["accuracy"] == pytest.approx(0.8)
    planned_run(tmp_path / "data", model)
    found = evaluate_run(tmp_path / "run", verbose=True)
    assert found.metrics["n"] == 150 and found.metrics["accuracy"] == pytest.approx(0.8)
    assert found.metrics["reference"] == 1


def _toy_reverse() -> SequenceTask:
    import importlib.util

    path = Path(__file__).parents[1] / "toy_sequences.py"
    spec = importlib.util.spec_from_file_location("toy_sequences", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    task: SequenceTask = module.TASK
    return task
