"""Evidence and the policy on the domain, from a verifier to predictions, metrics, failures, report and comparison."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.containers.ragged_sequences import IntegerSequences, Sequences
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.infix import parse_infix
from mathpipe.datasets.expressions.prefix import write
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.datasets.tokenizers.tokenizer import END
from mathpipe.evaluate.analyze.column_roles import measure_names
from mathpipe.evaluate.analyze.statistics import wilson
from mathpipe.evaluate.compare.evaluations import comparison_tables, load_evaluations
from mathpipe.evaluate.partial_results import PartialResults
from mathpipe.evaluate.report.failure_rendering import render_failure
from mathpipe.evaluate.run import EvaluationResult, evaluate_run
from mathpipe.generate.outcomes import DOMAINS, EVIDENCE, EVIDENCE_COUNTS, counted_as_correct, exact_evidence
from mathpipe.generate.tasks.task_registry import TASKS
from mathpipe.generate.tasks.unverified import UnverifiedIntegers
from mathpipe.pipeline.cli import main

TASK = "integration-bwd"
ROWS = [  # integrand, stored solution, answer ("": the solution), outcome, evidence, jumps
    ("1/x", "ln(abs(x))", "", "exact", "proven", 0),
    ("2/x", "2*ln(x)", "2*ln(abs(x))", "equivalent", "proven", 0),
    ("cos(x)", "sin(x)", "sin(x) + 5", "equivalent", "proven", 0),
    ("1/(2+cos(x))", "2/sqrt(3)*atan(tan(x/2)/sqrt(3))", "", "exact", "proven", 18),
    ("1/sqrt(x**2-1)", "acosh(x)", "", "real_domain", "enclosed", 0),
    ("1/(x*ln(x))", "ln(ln(x))", "ln(abs(ln(x)))", "real_domain", "enclosed", 0),
    ("exp(x)", "exp(x)", "x", "wrong_value", "proven", None),
    ("2*x", "x**2", "malformed", "malformed", None, None),
]
OUTCOMES, KINDS = [row[3] for row in ROWS], [row[4] for row in ROWS]
RIGHT = {"real": 6, "complex": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The integrands and stored solutions as an imported dataset."""
    folder = tmp_path_factory.mktemp("evidence")
    sheet = folder / "sheet.jsonl"
    sheet.write_text("".join(json.dumps({"f": f, "F": solution}) + "\n" for f, solution, *_ in ROWS))
    command = f"import --task {TASK} --test {sheet} --format jsonl --notation infix --columns problem=f,solution=F"
    assert call(*command.split(), "--out", str(folder / "data"), "--workers", "0") == 0
    return folder / "data"


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main([*arguments])
    return int(exit_info.value.code or 0)


def answer(row: int, reference: list[int]) -> list[int]:
    text = ROWS[row][2]
    if text == "malformed":
        return [IDS["add"], END]
    return [*write(parse_infix(text)), END] if text else reference


Evaluate = Callable[..., EvaluationResult]


@pytest.fixture
def evaluate_planned(data: Path, plan_answers: Any, planned_run: Any) -> Evaluate:
    """``evaluate_run`` of a model that gives these answers."""
    model = plan_answers(open_dataset(data, "test", "P1000", "P1000"), lambda i, row, tokens: answer(row, tokens))
    return functools.partial(evaluate_run, load=planned_run(data, model))


def test_predictions_hold_evidence(evaluate_planned: Evaluate, tmp_path: Path) -> None:
    result = evaluate_planned(tmp_path / "run")
    table = pq.read_table(result.predictions)
    rows = table.to_pydict()
    assert rows["outcome"] == OUTCOMES and rows["evidence"] == KINDS
    assert rows["passed"] == [name in ("exact", "equivalent", "real_domain") for name in OUTCOMES]
    assert rows["matches_reference"] == [row[2] == "" for row in ROWS]
    assert [jumps if jumps is None else min(jumps, 18) for jumps in rows["evidence_jumps"]] == [row[5] for row in ROWS]
    assert rows["evidence_points"][0] is None  # an identity needs no points
    assert min(rows["evidence_points"][4:6]) > 10 and min(rows["evidence_intervals"][4:6]) >= 1
    assert rows["evidence_untried_intervals"][4:6] == [0, 0]
    assert {str(table.schema.field(f"evidence_{name}").type) for name in EVIDENCE_COUNTS} == {"int32"}
    assert not [name for name in measure_names(table) if name.startswith("evidence")]


@pytest.mark.parametrize("domain", ["real", "complex"])
def test_both_shares_stand_in_the_metrics(domain: Any, evaluate_planned: Evaluate, tmp_path: Path) -> None:
    metrics = evaluate_planned(tmp_path / "run", domain=domain).metrics
    assert metrics["domain"] == domain and metrics["accuracy"] == RIGHT[domain] / 8
    for name, right in RIGHT.items():
        assert metrics[f"accuracy_{name}_domain"] == right / 8
        assert metrics[f"accuracy_{name}_domain_interval"] == [*wilson(right, 8)]
    assert metrics["accuracy_published"] == {"real": 6, "complex": 5}[domain] / 8  # acosh is the reference
    evidence = metrics["evidence"]
    enclosed = {"real": 2, "complex": 0}[domain]
    assert {name: entry["count"] for name, entry in evidence.items()} == {
        "proven": 4,
        "enclosed": enclosed,
        "sampled": 0,
    }
    assert evidence["proven"]["proportion"] == 4 / RIGHT[domain]
    assert evidence["proven"]["interval"] == [*wilson(4, RIGHT[domain])]
    by_outcome = metrics["evidence_by_outcome"]
    assert set(by_outcome) == {"exact", "equivalent", *(["real_domain"] if domain == "real" else [])}
    assert by_outcome["exact"]["proven"] == {"count": 2, "proportion": 2 / RIGHT[domain]}
    assert metrics["jumps"]["count"] == 1 and metrics["jumps"]["proportion"] == 1 / RIGHT[domain]
    if domain == "real":
        assert by_outcome["real_domain"]["enclosed"]["count"] == 2


def test_absolute_values_stay_equivalent_under_both_policies(evaluate_planned: Evaluate, tmp_path: Path) -> None:
    """Where abs occurs only real points count: 1/x -> ln|x|."""
    for domain in DOMAINS:
        result = evaluate_planned(tmp_path / "run", domain=domain)
        table = pq.read_table(result.predictions, columns=["outcome", "passed", "evidence"]).slice(0, 2)
        assert table.to_pydict() == {
            "outcome": ["exact", "equivalent"],
            "passed": [True, True],
            "evidence": ["proven", "proven"],
        }


def test_domain_on_the_command_line(
    evaluate_planned: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mathpipe.evaluate.run.evaluate_run", evaluate_planned)
    run = tmp_path / "run"
    run.mkdir()
    (run / "checkpoint.pt").touch()
    assert call("eval", "--run", str(run), "--domain", "complex", "--quiet") == 0
    text = capsys.readouterr().out
    assert "accuracy_real_domain     75.00 %" in text and "accuracy_complex_domain  50.00 %" in text
    assert "evidence of the correct answers\nproven                     4  100.00 %" in text
    assert "1 of them jump where the integrand is continuous" in text
    assert call("eval", "--run", str(run), "-S", "evaluate.domain=real", "--quiet") == 0
    assert "enclosed                   2   33.33 %" in capsys.readouterr().out
    directories = {path.name: path for path in (run / "evaluation").iterdir()}
    assert set(directories) == {"test", "test.domain-complex"}
    for name, path in directories.items():
        assert ("--domain complex" in (path / "report.html").read_text()) == (name == "test.domain-complex")
    assert call("eval", "--run", str(run), "--domain", "imaginary") == 2


def test_report_of_evidence(evaluate_planned: Evaluate, tmp_path: Path) -> None:
    result = evaluate_planned(tmp_path / "run")
    page = Path(result.report).read_text()
    assert 'id="evidence"' in page and "A correct answer is proven by an exact identity" in page
    assert "1 jump at isolated points where the integrand is continuous" in page
    assert "complex domain" in page and "without real_domain" in page
    content = json.loads((Path(result.directory) / "analyses/analyses.json").read_text())
    tables = {each["name"]: each for each in content["analyses"]}
    assert [row[:2] for row in tables["evidence"]["rows"]] == [["proven", 4], ["enclosed", 2], ["sampled", 0]]
    assert tables["evidence_by_outcome"]["columns"] == ["outcome", "problems", "proven", "enclosed", "sampled", "none"]
    assert tables["evidence_by_outcome"]["rows"] == [
        ["exact", 2, 2, 0, 0, 0],
        ["equivalent", 2, 2, 0, 0, 0],
        ["wrong_value", 1, 1, 0, 0, 0],
        ["malformed", 1, 0, 0, 0, 1],
        ["real_domain", 2, 0, 2, 0, 0],
    ]


def test_failures_show_and_filter_evidence(
    evaluate_planned: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = evaluate_planned(tmp_path / "run", domain="complex", verbose=True)
    for source in (result.directory, result.failures):
        assert (
            call("failures", str(source), "--where", "evidence=enclosed", "--where", "evidence_points>5", "--json") == 0
        )
        failures = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [failure["row"] for failure in failures] == [4, 5]
        assert {failure["evidence"] for failure in failures} == {"enclosed"}
        assert set(failures[0]["evidence_counts"]) == {f"evidence_{name}" for name in EVIDENCE_COUNTS}
        assert call("failures", str(source), "--where", "evidence=none", "--json") == 0
        assert [json.loads(line)["row"] for line in capsys.readouterr().out.splitlines()] == [7]
    assert {failure.row: render_failure(failure)[0].split(", ")[1] for failure in result.worst} == {
        4: "real_domain (enclosed)",
        5: "real_domain (enclosed)",
        6: "wrong_value (proven)",
        7: "malformed",
    }


def test_interrupted_evaluation_resumes_with_equal_bytes(
    evaluate_planned: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = Path(evaluate_planned(tmp_path / "run", chunk_rows=3).predictions).read_bytes()
    shutil.rmtree(tmp_path / "run")
    write_part, parts = PartialResults.write, list[int]()

    def fail_at_the_third(self: PartialResults, k: int, *rest: Any) -> None:
        if k == 2:
            raise KeyboardInterrupt
        parts.append(k)
        write_part(self, k, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(PartialResults, "write", fail_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            evaluate_planned(tmp_path / "run", chunk_rows=3)
    assert parts == [0, 1]
    assert Path(evaluate_planned(tmp_path / "run", chunk_rows=3).predictions).read_bytes() == complete


def test_parts_of_another_domain_are_not_reused(
    evaluate_planned: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(PartialResults, "join", interrupt)
        with pytest.raises(KeyboardInterrupt):
            evaluate_planned(tmp_path / "run", domain="complex", out_dir=tmp_path / "out")
    assert list((tmp_path / "out/.partial").glob("*/*.parquet"))
    result = evaluate_planned(tmp_path / "run", domain="real", out_dir=tmp_path / "out")
    assert result.metrics["accuracy"] == 6 / 8


def test_comparison_names_the_domain_and_the_proven_share(evaluate_planned: Evaluate, tmp_path: Path) -> None:
    directories = [evaluate_planned(tmp_path / "run", domain=domain).directory for domain in DOMAINS]
    evaluations = load_evaluations(directories)
    assert [each.settings for each in evaluations] == ["greedy", "greedy, complex domain"]
    side_by_side = comparison_tables(evaluations)[0]
    assert side_by_side.column("complex_domain") == [0.5, 0.5]
    assert side_by_side.column("proven_of_correct") == pytest.approx([4 / 6, 1])


def test_matrices_have_neither_evidence_nor_a_domain(
    addition_data: Path, plan_answers: Any, planned_run: Any, tmp_path: Path
) -> None:
    load = planned_run(addition_data, plan_answers(open_dataset(addition_data, "test", "P1000", "P1000")))
    with pytest.raises(UserError, match=r"(?s)domain complex has no meaning.*a task of matrices.*omit --domain"):
        evaluate_run(tmp_path / "run", load=load, limit=20, domain="complex")
    result = evaluate_run(tmp_path / "run", load=load, limit=20)
    table = pq.read_table(result.predictions)
    assert table["evidence"].null_count == 20 and "evidence_points" not in table.column_names
    assert not {"domain", "evidence", "jumps", "accuracy_real_domain"} & set(result.metrics)
    assert 'id="evidence"' not in Path(result.report).read_text()
    with pytest.raises(UserError, match="there is no domain 'imaginary'"):
        evaluate_run(tmp_path / "run", load=load, limit=20, domain="imaginary")  # type: ignore[arg-type]


def test_equality_of_bits_is_proof() -> None:
    """10 xor 11 is compared exactly: right and wrong answers are proven, an answer of another length is malformed."""
    problem, solution = bytes([1, 0, 1, 1]), bytes([0, 1])
    answers = Sequences.from_list([solution, bytes([1, 1]), bytes([0])])
    result = TASKS["xor"].verify(Sequences.from_list([problem] * 3), Sequences.from_list([solution] * 3), answers)
    assert [EVIDENCE[k] for k in result.evidence] == ["proven", "proven", "none"]
    assert exact_evidence(np.array([True, False])).tolist() == [1, 0]


def test_equality_of_integers_is_proof() -> None:
    """gcd(12, 18) = 6; two integers are no answer."""
    problems, references = (IntegerSequences.from_list([row] * 3) for row in ([12, 18], [6]))
    result = TASKS["gcd"].verify(problems, references, IntegerSequences.from_list([[6], [4], [6, 6]]))
    assert [EVIDENCE[k] for k in result.evidence] == ["proven", "proven", "none"]


def test_stored_answers_of_an_unverified_dataset_are_no_evidence() -> None:
    problems, references = (IntegerSequences.from_list([row]) for row in ([12, 18], [6]))
    assert len(UnverifiedIntegers().verify(problems, references, references).evidence) == 0


def test_outcomes_that_count_under_each_policy() -> None:
    assert counted_as_correct(frozenset({"exact"}), "complex") == {"exact"}
    assert counted_as_correct(frozenset({"exact", "real_domain"}), "complex") == {"exact"}
    assert counted_as_correct(frozenset({"exact", "real_domain"}), "real") == {"exact", "real_domain"}
