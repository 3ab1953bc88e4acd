"""Whole evaluations: planned defects appear in every file, and metrics are recomputed from the predictions."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from mathpipe.datasets.dataset import Dataset, open_dataset
from mathpipe.evaluate.decode.hypotheses import Decoding, Hypotheses
from mathpipe.evaluate.failures.failure_dump import read_failures
from mathpipe.evaluate.quick_accuracy import quick_accuracy, quick_metric_names
from mathpipe.evaluate.run import evaluate_run


def test_planned_defects_in_every_file(
    defects: list[str],
    add_defects: Any,
    addition_data: Path,
    plan_answers: Any,
    planned_run: Any,
    tmp_path: Path,
) -> None:
    dataset = open_dataset(addition_data, "test", "P1000", "P1000")
    model = plan_answers(dataset, add_defects)
    load = planned_run(addition_data, model)
    result = evaluate_run(tmp_path / "run", verbose=True, batch_size=16, load=load, chunk_rows=50)
    assert model.num_problems == 230  # each problem decoded once
    table = pq.read_table(tmp_path / "run" / "evaluation" / "test" / "predictions.parquet")
    assert table["row"].to_pylist() == [r for rows in dataset.chunks() for r in rows.row.tolist()]
    assert table["outcome"].to_pylist() == defects
    lengths = [
        len(p.split()) + (o != "unterminated") for p, o in zip(*columns(table, "prediction", "outcome"), strict=True)
    ]
    assert {k for k, o in zip(lengths, table["outcome"].to_pylist(), strict=True) if o == "unterminated"} == {
        2 + 27 + 1
    }
    np.testing.assert_allclose(table["log_probability"].to_numpy(), np.array(lengths) * np.log(0.75), rtol=1e-6)
    assert result.metrics["accuracy"] == result.metrics["accuracy_published"] == pytest.approx(138 / 230)
    assert {name: o["count"] for name, o in result.metrics["outcomes"].items()} == {
        "exact": 138,
        "within_tolerance": 0,
        "wrong_value": 23,
        "wrong_shape": 23,
        "malformed": 23,
        "unterminated": 23,
    }
    assert (
        result.metrics["reference"]
        == result.metrics["best_representable"]
        == dict.fromkeys(["5%", "2%", "1%", "0.5%"], 1.0)
    )
    dump = list(read_failures(result.failures or ""))
    assert [f.row for f in dump] == [r for r, o in zip(*columns(table, "row", "outcome"), strict=True) if o != "exact"]
    assert [f.outcome for f in result.worst[:3]] == ["malformed", "unterminated", "wrong_shape"]
    assert len(result.worst) == 10
    errors = [f.error for f in result.worst[3:]]
    assert errors == sorted((f.error for f in dump if f.outcome == "wrong_value"), reverse=True)[:7]


def columns(table: Any, *names: str) -> Iterator[list[Any]]:
    return (table[name].to_pylist() for name in names)


def test_metrics_match_the_predictions(
    addition_data: Path, plan_answers: Any, planned_run: Any, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)

    def perturb(i: int, row: int, tokens: list[int]) -> list[int]:
        """Slightly wrong mantissas: tokens 3, 6, 9, ... of a P1000 matrix."""
        return [
            int(np.clip(t + rng.integers(-9, 10), 111 + 100, 111 + 999)) if k % 3 == 0 and k and i % 3 else t
            for k, t in enumerate(tokens)
        ]

    load = planned_run(addition_data, plan_answers(open_dataset(addition_data, "test", "P1000", "P1000"), perturb))
    result = evaluate_run(tmp_path / "run", out_dir=tmp_path / "out", load=load)
    metrics = json.loads((tmp_path / "out" / "analyses" / "analyses.json").read_text())["metrics"]
    assert metrics == result.metrics
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert list(figures) == [
        *("n", "accuracy", "accuracy_low", "accuracy_high", "accuracy_published", "accuracy_any", "exact", "invalid")
    ]
    assert {name: figures[name] for name in ("n", "accuracy", "accuracy_published", "accuracy_any")} == {
        name: metrics[name] for name in ("n", "accuracy", "accuracy_published", "accuracy_any")
    }
    assert [figures["accuracy_low"], figures["accuracy_high"]] == metrics["accuracy_interval"]
    assert figures["exact"] == metrics["outcomes"]["exact"]["proportion"]
    assert figures["invalid"] == sum(metrics["outcomes"][name]["proportion"] for name in ("malformed", "unterminated"))
    assert result.failures is None
    assert not (tmp_path / "out" / "failures.jsonl.zst").exists()
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    # the answers and references themselves, without the verifier of the task
    decoded, reference = (table[name].to_pylist() for name in ("decoded", "reference"))
    l1, l2, largest = (np.empty(len(table)) for _ in range(3))
    for i, (h, x) in enumerate(zip(decoded, reference, strict=True)):
        r, s = np.abs(np.array(h) - x), np.abs(np.array(x))
        l1[i], l2[i], largest[i] = r.sum() / s.sum(), (r**2).sum() / (s**2).sum(), r.max() / s.max()
    for norm, errors in (("l1", l1), ("l2", l2), ("max", largest)):
        np.testing.assert_allclose(table[f"error_{norm}"].to_numpy(), errors, rtol=1e-12)
        for key, tolerance in (("5%", 0.05), ("2%", 0.02), ("1%", 0.01), ("0.5%", 0.005)):
            assert metrics["by_tolerance"][norm][key] == (errors <= tolerance).mean()
    exact = np.array(table["outcome"].to_pylist()) == "exact"
    assert 0 < exact.mean() < metrics["accuracy"] < 1
    assert metrics["accuracy"] == (l1 <= 0.05).mean()
    assert metrics["accuracy_published"] == ((l1 <= 0.05) | exact).mean()
    assert metrics["mean_log_probability"] == pytest.approx(table["log_probability"].to_numpy().mean())
    assert metrics["n"] == 230
    assert set(metrics["seconds"]) == {"decoding", "scoring", "baselines", "writing", "total"}
    with (tmp_path / "out" / "accuracy_by_tolerance.csv").open() as file:
        curve = list(csv.DictReader(file))
    assert [float(line["tolerance"]) for line in curve] == [0.005, 0.01, 0.02, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25]
    for line in curve:
        assert float(line["accuracy"]) == (l1 <= float(line["tolerance"])).mean()
        assert float(line["accuracy_max"]) == (largest <= float(line["tolerance"])).mean()
        assert float(line["copy"]) <= float(line["reference"]) == float(line["best_representable"]) == 1
    for text in ("add: 230 problems", "accuracy_published", "lower bound", "constant (", "wrong_shape"):
        assert text in result.text


def test_accuracy_and_accuracy_published_differ_if_references_fail(
    make_data: Any, plan_answers: Any, planned_run: Any, tmp_path: Path
) -> None:
    data = make_data("inverse", test=400, min_dim=4, max_dim=4)
    load = planned_run(data, plan_answers(open_dataset(data, "test", "P1000", "P1000")))
    metrics = evaluate_run(tmp_path / "run", verbose=True, load=load).metrics
    assert metrics["accuracy_published"] == metrics["outcomes"]["exact"]["proportion"] == 1
    assert metrics["accuracy"] == metrics["reference"]["5%"] < 1
    assert metrics["best_representable"]["1%"] > metrics["reference"]["1%"]
    dump = list(read_failures(tmp_path / "run" / "evaluation" / "test" / "failures.jsonl.zst"))
    assert len(dump) == round((1 - metrics["accuracy"]) * 400)
    assert {failure.outcome for failure in dump} == {"exact"}
    assert all(failure.error == failure.reference_error_l1 for failure in dump)


def test_results_do_not_depend_on_batches_and_chunks(
    addition_data: Path, untrained: Any, make_run: Any, planned_run: Any, tmp_path: Path
) -> None:
    load = planned_run(addition_data, untrained(make_run(addition_data)))
    tables = []
    for size, chunk in ((256, 10_000), (7, 30)):
        settings = {"limit": 100, "batch_size": size, "chunk_rows": chunk, "load": load}
        result = evaluate_run(tmp_path / "run", out_dir=tmp_path / str(size), **settings)
        tables.append(pq.read_table(result.predictions))
        assert len(tables[-1]) == result.metrics["n"] == 100
    assert tables[0].drop_columns("log_probability") == tables[1].drop_columns("log_probability")
    np.testing.assert_allclose(*(t["log_probability"].to_numpy() for t in tables), rtol=1e-4)


def test_diverged_model(addition_data: Path, make_run: Any, untrained: Any, planned_run: Any, tmp_path: Path) -> None:
    model = untrained(make_run(addition_data))
    torch.nn.init.constant_(model.output_bias, float("nan"))
    load = planned_run(addition_data, model)
    result = evaluate_run(tmp_path / "run", limit=30, verbose=True, load=load)
    assert result.metrics["accuracy"] == 0
    assert result.metrics["mean_log_probability"] is None
    assert len(list(read_failures(result.failures or ""))) == 30


def test_constrained_answers_are_never_malformed(
    addition_data: Path, make_run: Any, untrained: Any, tmp_path: Path
) -> None:
    for encoding in ("P10", "FP15"):
        record = make_run(addition_data, output_encoding=encoding)
        model = untrained(record)
        for decoding in (Decoding(constrained=True), Decoding(beam=3, constrained=True)):
            result = evaluate_run(tmp_path / "run", limit=30, decoding=decoding, load=lambda *_: (model, record))  # noqa: B023
            outcomes = {name for name, o in result.metrics["outcomes"].items() if o["count"]}
            assert outcomes <= {"exact", "within_tolerance", "wrong_value"}


def test_every_hypothesis_is_verified(
    addition_data: Path, make_run: Any, untrained: Any, planned_run: Any, tmp_path: Path
) -> None:
    load = planned_run(addition_data, untrained(make_run(addition_data)))
    dataset = open_dataset(addition_data, "test", "P1000", "P1000")
    examples = next(iter(dataset.chunks(stop=40)))

    def answers(model: Any, dataset: Dataset, rows: Any, *_: Any) -> Hypotheses:
        """Three hypotheses per problem; the one of rank row % 4 is correct, none if that is 3."""
        target = dataset.encode(rows).target.astype(np.int64)
        wrong = target.copy()
        wrong[:, 4] += 3
        tokens = np.stack([np.where((rows.row % 4 == k)[:, None], target, wrong) for k in range(3)], axis=1)
        n = len(rows)
        return Hypotheses(
            tokens.reshape(3 * n, -1), np.tile([-1.0, -2.0, -3.0], n), np.repeat(np.arange(n), 3), np.tile([0, 1, 2], n)
        )

    result = evaluate_run(tmp_path / "run", limit=40, decoding=Decoding(beam=3), load=load, decode=answers)
    table = pq.read_table(result.predictions)
    assert len(table) == 120
    best = table.filter(pc.equal(table["rank"], 0))
    correct_rank = [r % 4 for r in examples.row.tolist()]
    assert best["correct_rank"].to_pylist() == [None if k == 3 else float(k) for k in correct_rank]
    assert table.filter(pc.equal(table["rank"], 1))["correct_rank"].null_count == 40
    passed = [o in ("exact", "within_tolerance") for o in table["outcome"].to_pylist()]
    assert passed == [k == rank for k in correct_rank for rank in range(3)] == table["passed"].to_pylist()
    assert result.metrics["accuracy"] == np.mean([k == 0 for k in correct_rank])
    assert result.metrics["accuracy_any"] == np.mean([k < 3 for k in correct_rank])


def test_quick_accuracy(add_defects: Any, addition_data: Path, plan_answers: Any) -> None:
    dataset: Dataset = open_dataset(addition_data, "test", "P1000", "P1000")
    model = plan_answers(dataset, add_defects)
    model.train()
    metrics = quick_accuracy(model, dataset, limit=50, batch_size=20)
    assert {*metrics} == {*quick_metric_names(dataset)}
    assert metrics["accuracy"] == metrics["accuracy_published"] == metrics["exact"] == pytest.approx(0.6)
    assert metrics["invalid"] == pytest.approx(0.2)
    assert metrics["mean_log_probability"] < 0
    assert model.num_problems == 50
    assert model.training
    assert all(type(value) is float for value in metrics.values())
