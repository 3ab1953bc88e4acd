"""Evaluation of token sequences: verification, references, predictions, analyses, failures, worker processes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.expressions.vocabulary import ARITY, IDS, TOKENS
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.sequence_tokenizer import SequenceTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.evaluate.adapters.adapter_registry import adapter_of
from mathpipe.evaluate.adapters.expression_adapter import ExpressionAdapter
from mathpipe.evaluate.analyze.baselines import BaselineCounts, ReferenceBaseline
from mathpipe.evaluate.analyze.covariates import depths, expression_covariates
from mathpipe.evaluate.analyze.evaluation_data import evaluation_data
from mathpipe.evaluate.build_report import build_report
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.predictions import PredictionsWriter
from mathpipe.evaluate.quick_accuracy import quick_accuracy
from mathpipe.evaluate.report.failure_rendering import failure_card, render_failure
from mathpipe.evaluate.run import evaluate_run
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.layout import Layout
from mathpipe.generate.outcomes import SYMBOLIC_OUTCOMES, Verification
from mathpipe.generate.tasks import task_registry as registry
from mathpipe.generate.tasks.token_task import ExpressionTask, TokenTask

TOKENIZER = ExpressionTokenizer()


def token_ids(text: str) -> bytes:
    return bytes(IDS[token] for token in text.split())


def verify_copy(problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
    """The solution of p is p itself; the first token of another answer names its outcome."""
    by_token = {IDS["sin"]: "partial", IDS["cos"]: "particular", IDS["tan"]: "timeout", IDS["exp"]: "undecided"}
    codes = {name: k for k, name in enumerate(SYMBOLIC_OUTCOMES)}
    outcomes = []
    for p, r, h in zip(problems.to_list(), references.to_list(), predicted.to_list(), strict=True):
        if h == r:
            outcomes.append("exact" if r == p or r == token_ids("add x x") else "wrong_value")
        elif h == p:
            outcomes.append("equivalent")
        else:
            outcomes.append(by_token.get(h[0], "wrong_value") if h else "malformed")
    proportions = np.array([0.5 if name == "partial" else np.nan for name in outcomes])
    return Verification(np.array([codes[name] for name in outcomes], dtype=np.int8), {"partial_share": proportions})


class Copy(ExpressionTask):
    """p -> p."""

    name, problem, solution, source = "toy-copy", "an expression", "itself", "tests"
    measures = ("partial_share",)
    symbols = (("x",), ("x",))

    def pairs(self, *_: Any) -> Any:
        raise NotImplementedError

    def verify(self, problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
        return verify_copy(problems, references, predicted)


TASK = Copy()
ADAPTER = ExpressionAdapter(TASK)


def hypotheses(texts: list[list[str]]) -> Hypotheses:
    """Ranked hypotheses of each problem; one that ends in ``...`` has no END."""
    rows = [
        [IDS[token] for token in text.removesuffix(" ...").split()] + ([] if text.endswith("...") else [END])
        for ranked in texts
        for text in ranked
    ]
    tokens = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
        if END not in row:
            tokens[i, len(row) :] = IDS["x"]
    problem = np.repeat(np.arange(len(texts)), [len(ranked) for ranked in texts])
    rank = np.concatenate([np.arange(len(ranked)) for ranked in texts])
    return Hypotheses(tokens, -np.arange(1.0, len(rows) + 1), problem, rank)


PROBLEMS = ["x", "mul x x", "sin x", "add x INT+ 1 2", "exp x", "ln x", "cos x", "mul INT+ 2 x"]
REFERENCES = [*PROBLEMS[:-1], "add x x"]
HYPOTHESES = [
    ["x", "sin x"],  # exact
    ["cos x", "tan x", "mul x x"],  # particular; the third is correct
    ["tan x"],  # timeout
    ["sin x"],  # partial
    [""],  # malformed
    ["ln ln ..."],  # unterminated
    ["exp x"],  # undecided
    ["mul INT+ 2 x", "add x x"],  # equivalent: other tokens than the reference
]
OUTCOMES = ["exact", "particular", "timeout", "partial", "malformed", "unterminated", "undecided", "equivalent"]


@pytest.fixture
def examples() -> TokenExamples:
    problems, references = (Sequences.from_list(map(token_ids, texts)) for texts in (PROBLEMS, REFERENCES))
    return TokenExamples(np.arange(10, 18), problems, references, {"operators": np.arange(8, dtype=np.int16)})


def test_every_outcome_and_rank(examples: TokenExamples) -> None:
    scored = ADAPTER.score(TOKENIZER, examples, hypotheses(HYPOTHESES))
    best = scored.best
    assert [SYMBOLIC_OUTCOMES[k] for k in scored.outcome[best]] == OUTCOMES
    assert scored.passed[best].tolist() == [name in ("exact", "equivalent") for name in OUTCOMES]
    np.testing.assert_array_equal(scored.correct_rank[best], [0, 2, *[np.nan] * 5, 0])
    assert scored.errors["partial_share"][best][3] == 0.5
    assert scored.reference.passed.all()


def test_references_are_verified_too(examples: TokenExamples) -> None:
    """The first reference is verified as its exact prediction, the others for themselves."""
    wrong = TokenExamples(examples.row, examples.problems, Sequences.from_list([token_ids("pow2 x")] * 8))
    scored = ADAPTER.score(TOKENIZER, wrong, hypotheses([["pow2 x"], *[["x"]] * 7]))
    assert not scored.reference.passed.any()
    counts = ReferenceBaseline().count_passes(scored)
    assert counts.n == 8 and counts.accuracy("reference", 0.05) == 0


@pytest.mark.parametrize("exact", [[0], [2, 5], list(range(8))])
def test_reference_of_an_exact_prediction_is_not_verified_again(exact: list[int], examples: TokenExamples) -> None:
    texts = [[REFERENCES[i] if i in exact else "sin x"] for i in range(8)]
    scored = ADAPTER.score(TOKENIZER, examples, hypotheses(texts))
    others = ADAPTER.score(TOKENIZER, examples, hypotheses([["tan x"]] * 8))
    assert scored.reference.passed.tolist() == others.reference.passed.tolist()
    assert scored.reference.outcome.tolist() == others.reference.outcome.tolist()


PAIRS = {  # a problem and its solution
    "integration-bwd": ("sub Y' mul INT+ 2 x", "pow2 x"),
    "integration-fwd": ("sub Y' mul INT+ 2 x", "pow2 x"),
    "integration-ibp": ("sub Y' mul INT+ 2 x", "pow2 x"),
    "ode1": ("sub Y' Y", "mul a8 exp x"),
    "ode2": ("add Y'' Y", "add mul a8 cos x mul a9 sin x"),
}


def examples_of(task: str, n: int) -> TokenExamples:
    problem, solution = (Sequences.from_list([token_ids(text)] * n) for text in PAIRS[task])
    return TokenExamples(np.arange(n), problem, solution, {})


def predictions(adapter: Any, examples: TokenExamples, text: str) -> pa.Table:
    """Predictions table in which every example gets this answer."""
    tokens = np.array([[*token_ids(text)]] * len(examples))
    scored = adapter.score(TOKENIZER, examples, Hypotheses(tokens, np.zeros(len(examples))))
    return adapter.table(scored, "test", TOKENIZER, TOKENIZER)


@pytest.mark.parametrize("task", PAIRS)
def test_schema_does_not_depend_on_predictions(task: str) -> None:
    solution = PAIRS[task][1]
    answers = (f"{solution} <s>", solution, "add <s>")  # correct, unterminated, malformed
    tables = [predictions(adapter_of(task), examples_of(task, 1), answer) for answer in answers]
    assert tables[0]["passed"].to_pylist() == [True]
    assert len({str(table.schema) for table in tables}) == 1


def test_distinct_accuracy_counts_repeated_problems_once() -> None:
    texts = ["sub Y' x", *["sub Y' mul INT+ 2 x"] * 3]
    problems = Sequences.from_list([token_ids(text) for text in texts])
    solutions = Sequences.from_list([token_ids("div pow2 x INT+ 2"), *[token_ids("pow2 x")] * 3])
    adapter = adapter_of("integration-bwd")
    table = predictions(adapter, TokenExamples(np.arange(4), problems, solutions, {}), "pow2 x <s>")
    metadata = {
        "outcomes": list(adapter.outcomes),
        "split": "test",
        "task": "integration-bwd",
        "decoding": "greedy",
    }
    metrics = adapter.metrics(evaluation_data(table, metadata, BaselineCounts()))
    assert metrics["accuracy"] == 0.75
    assert (metrics["distinct"]["problems"], metrics["distinct"]["accuracy"]) == (2, 0.5)
    assert "50.00 %   of the 2 distinct problems" in adapter.summary(metrics, [])


@pytest.mark.parametrize("task", PAIRS)
def test_grammar_allows_answers_of_the_task_only(task: str) -> None:
    adapter = adapter_of(task)
    grammar: Any = adapter.grammar(TOKENIZER, examples_of(task, 1), 30, "cpu")
    first = [TOKENS[k] for k in grammar.allowed()[0].nonzero().squeeze(1).tolist()]
    assert "x" in first and "Y" not in first and "t" not in first
    answers = [f"{token} {'x ' * ARITY[token]}" if token in ARITY else f"{token} 2" for token in first]
    examples = examples_of(task, len(answers))
    every = np.ones(len(answers), dtype=bool)
    verified = adapter.verifier.verify(examples, Sequences.from_list([*map(token_ids, answers)]), every, every)
    assert SYMBOLIC_OUTCOMES.index("malformed") not in verified.outcome
    possible = {*(grammar._node | grammar._integer | grammar._digit).nonzero().squeeze(1).tolist()}
    assert set(token_ids(PAIRS[task][1])) <= possible


def test_workers_give_the_same_outcomes(examples: TokenExamples) -> None:
    many = examples.take(np.tile(np.arange(8), 40))
    decoded = hypotheses([ranked[:1] for ranked in HYPOTHESES] * 40)
    alone = ADAPTER.score(TOKENIZER, many, decoded)
    adapter, num_batches = ExpressionAdapter(TASK, workers=2), []
    pool = {"map": lambda self, f, *lists: num_batches.append(len(lists[0])) or map(f, *lists)}
    adapter.verifier._pool = type("Pool", (), pool)()
    distributed = adapter.score(TOKENIZER, many, decoded)
    assert num_batches == [2, 2]  # decoded predictions, and references without an exact prediction
    assert distributed.outcome.tolist() == alone.outcome.tolist()
    np.testing.assert_array_equal(distributed.errors["partial_share"], alone.errors["partial_share"])


def test_report_of_expressions(examples: TokenExamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.TASKS, TASK.name, TASK)
    many = examples.take(np.tile(np.arange(8), 10))
    many = TokenExamples(np.arange(80), many.problems, many.solutions, many.columns)
    scored = ADAPTER.score(TOKENIZER, many, hypotheses(HYPOTHESES * 10))
    with (tmp_path / "predictions.parquet").open("wb") as file:
        metadata = {"task": TASK.name, "split": "test", "outcomes": list(SYMBOLIC_OUTCOMES)}
        counts = ReferenceBaseline().count_passes(scored)
        writer = PredictionsWriter(file, metadata | {"baselines": counts.to_json()})
        writer.append(ADAPTER.table(scored, "test", TOKENIZER, TOKENIZER))
        writer.close()
    first = pq.read_table(tmp_path / "predictions.parquet").slice(0, 1).to_pylist()[0]
    assert (first["problem_tokens"], first["reference"], first["prediction"]) == ("x", "x", "x")
    assert first["decoded"] == [IDS["x"]] and first["problem_depth"] == 0 and first["operators"] == 0
    report = build_report(Storage(str(tmp_path)), verbose=True)
    assert report.metrics["accuracy"] == 0.25 and report.metrics["accuracy_any"] == 0.375
    assert report.metrics["reference_accuracy"] == 1
    counts_by_outcome = {name: o["count"] for name, o in report.metrics["outcomes"].items() if o["count"]}
    assert counts_by_outcome == dict.fromkeys(OUTCOMES, 10)
    names = {analysis.name for analysis in report.analyses}
    assert {"outcomes", "by_problem_length", "by_problem_depth", "calibration"} <= names
    lines = [render_failure(failure) for failure in report.worst]
    assert any("mul x x" not in line[1] and "x" in line[1] for line in lines)
    assert "problem" in lines[0][1] and "prediction" in lines[0][3]
    page = (tmp_path / "report.html").read_text()
    assert "sin(x)" in page and "the most confident wrong answers" in page


def test_report_of_short_sequences() -> None:
    """xor of two bits: one correct answer, one wrong bit, one answer without END."""
    adapter, tokenizer = adapter_of("xor"), SequenceTokenizer(("0", "1", "?"), 2)
    problems = Sequences.from_list([bytes([0, 1, 1, 1]), bytes([0, 0, 1, 1]), bytes([0, 0, 0, 1])])
    solutions = Sequences.from_list([bytes([1, 0]), bytes([1, 1]), bytes([0, 1])])
    examples = TokenExamples(np.arange(3), problems, solutions, {})
    tokens = np.array([[3, 2, END], [3, 2, END], [2, 3, 3]])
    table = adapter.table(
        adapter.score(tokenizer, examples, Hypotheses(tokens, np.array([-1.0, -2.0, -3.0]))),
        *("test", tokenizer, tokenizer),
    )
    assert table["outcome"].to_pylist()[::2] == ["exact", "unterminated"]
    assert table["solution_weight"].to_pylist() == [1, 2, 1]
    assert table["token_accuracy"].to_pylist() == pytest.approx([1, 2 / 3, 2 / 3])
    metadata = {"outcomes": list(adapter.outcomes), "split": "test", "task": "xor"}
    metrics = adapter.metrics(evaluation_data(table, metadata, BaselineCounts()))
    assert metrics["bit_accuracy"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert "bit_accuracy             50.00 %" in adapter.summary(metrics, [])
    failures = list(adapter.failures(table))
    assert [failure.problem_type for failure in failures] == ["sequences"] * 2
    assert render_failure(failures[0])[1:] == ["problem     0011", "reference   11", "prediction  10"]
    assert "<dd class=formula>0011</dd>" in failure_card(failures[0])
    assert adapter.grammar(tokenizer, examples, 3, "cpu") is None


def test_depths_and_operators() -> None:
    texts = ["x", "INT+ 1 2 3", "sin x", "add x sin cos x", "mul add x INT- 1 0 pow x INT+ 2", "ln ln ln ln x"]
    expressions = Sequences.from_list(map(token_ids, texts))
    assert depths(expressions).tolist() == [0, 0, 1, 3, 2, 4]
    assert expression_covariates(expressions, expressions)["problem_operators"].tolist() == [0, 0, 1, 3, 3, 4]
    assert depths(Sequences.from_list([])).tolist() == []


def test_evaluation_of_a_generated_dataset(
    tmp_path: Path, plan_answers: Callable[..., Any], planned_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = load_toy_task()
    monkeypatch.setitem(registry.TASKS, toy.name, toy)
    spec = toy.make_spec({"min_operators": 7}, seed=1)
    make_dataset(spec, Layout({"train": 200, "test": 150}, 1000), str(tmp_path / "data"), workers=0)
    dataset = open_dataset(tmp_path / "data", "test")

    def drop_last_token(i: int, row: int, tokens: list[int]) -> list[int]:
        return [*tokens[:-2], END] if i % 5 == 0 else tokens

    model = plan_answers(dataset, drop_last_token)
    assert quick_accuracy(model, dataset, limit=100)["accuracy"] == pytest.approx(0.8)
    load = planned_run(tmp_path / "data", model)
    metrics = evaluate_run(tmp_path / "run", verbose=True, load=load).metrics
    assert metrics["n"] == 150 and metrics["accuracy"] == pytest.approx(0.8)
    assert metrics["reference_accuracy"] == 1


def load_toy_task() -> TokenTask[Any]:
    path = Path(__file__).parents[1] / "toy_expressions.py"
    spec = importlib.util.spec_from_file_location("toy_expressions", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    task: TokenTask[Any] = module.TASK
    return task
