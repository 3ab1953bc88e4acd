"""A whole evaluation: planned defects come out as planned, in every file; figures are recomputed from the predictions."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from mathpipe.datasets.dataset import Dataset, open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.atomic_files import write_json
from mathpipe.datasets.tokenizers.matrix_tokenizer import END
from mathpipe.evaluate import run as evaluation
from mathpipe.evaluate.decode.decoding import Decoding, Hypotheses
from mathpipe.evaluate.failures.failure_dump import read_failures
from mathpipe.evaluate.partial_results import PartialResults
from mathpipe.evaluate.predictions import predictions_metadata
from mathpipe.evaluate.run import evaluate_run, quick_accuracy, quick_metric_names
from mathpipe.train.run.checkpoint import BEST, CHECKPOINT, CHECKPOINTS, RECORD, save_checkpoint

# Row i of the split gets defect i % 10; all others are answered right.
DEFECTS = {1: "malformed", 3: "unterminated", 5: "wrong_shape", 7: "wrong_value"}


def with_defects(i: int, row: int, words: list[int]) -> list[int]:
    defect = DEFECTS.get(i % 10)
    if defect == "malformed":
        return [*words[:-2], END]
    if defect == "unterminated":
        return [*words[:-1], *[words[-2]] * 40]  # beyond the longest right answer
    if defect == "wrong_shape":  # the matrix as one row
        size = (words[0] - 8) * (words[1] - 8)
        return [9, 8 + size, *words[2:]]
    if defect == "wrong_value":  # a thousand times the first entry
        return [*words[:4], words[4] + 3, *words[5:]]
    return words


@pytest.fixture(scope="module")
def added(make_data: Callable[..., Path]) -> Path:
    return make_data("add", test=230, min_dim=2, max_dim=3)


def test_planned_defects_come_out_as_planned(
    added: Path, plan_answers: Any, planned_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "_CHUNK_ROWS", 50)
    dataset = open_dataset(added, "test")
    model = plan_answers(dataset, with_defects)
    planned_run(added, model)
    found = evaluate_run(tmp_path / "run", verbose=True, batch_size=16)
    assert model.asked == 230  # each problem decoded once
    table = pq.read_table(tmp_path / "run" / "evaluation" / "test" / "predictions.parquet")
    assert table["row"].to_pylist() == [r for rows in dataset.chunks() for r in rows.row.tolist()]
    assert table["outcome"].to_pylist() == [DEFECTS.get(i % 10, "exact") for i in range(230)]
    lengths = [
        len(p.split()) + (o != "unterminated") for p, o in zip(*columns(table, "prediction", "outcome"), strict=True)
    ]
    assert {k for k, o in zip(lengths, table["outcome"].to_pylist(), strict=True) if o == "unterminated"} == {
        2 + 27 + 1
    }
    np.testing.assert_allclose(table["log_probability"].to_numpy(), np.array(lengths) * np.log(0.75), rtol=1e-6)
    assert found.metrics["accuracy"] == found.metrics["accuracy_published"] == pytest.approx(138 / 230)
    assert {name: o["count"] for name, o in found.metrics["outcomes"].items()} == {
        "exact": 138,
        "within_tolerance": 0,
        "wrong_value": 23,
        "wrong_shape": 23,
        "malformed": 23,
        "unterminated": 23,
    }
    assert (
        found.metrics["reference"]
        == found.metrics["best_representable"]
        == dict.fromkeys(["5%", "2%", "1%", "0.5%"], 1.0)
    )
    dump = list(read_failures(found.failures or ""))
    assert [f.row for f in dump] == [r for r, o in zip(*columns(table, "row", "outcome"), strict=True) if o != "exact"]
    assert [f.outcome for f in found.worst[:3]] == ["malformed", "unterminated", "wrong_shape"]
    assert len(found.worst) == 10
    errors = [f.error for f in found.worst[3:]]
    assert errors == sorted((f.error for f in dump if f.outcome == "wrong_value"), reverse=True)[:7]


def columns(table: Any, *names: str) -> Iterator[list[Any]]:
    return (table[name].to_pylist() for name in names)


def test_metrics_are_recomputed_from_the_predictions(
    added: Path, plan_answers: Any, planned_run: Any, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)

    def noisy(i: int, row: int, words: list[int]) -> list[int]:
        """Mantissas off by a little: words 3, 6, 9, ... of a P1000 matrix."""
        return [
            int(np.clip(w + rng.integers(-9, 10), 111 + 100, 111 + 999)) if k % 3 == 0 and k and i % 3 else w
            for k, w in enumerate(words)
        ]

    planned_run(added, plan_answers(open_dataset(added, "test"), noisy))
    found = evaluate_run(tmp_path / "run", out_dir=tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics == found.metrics
    assert found.failures is None
    assert not (tmp_path / "out" / "failures.jsonl.zst").exists()
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    # independently: decoded and reference against each other, without the task's verifier
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
    for words in ("add: 230 problems", "accuracy_published", "lower bound", "constant (", "wrong_shape"):
        assert words in found.text


def test_the_two_headline_shares_differ_where_references_fail(
    make_data: Any, plan_answers: Any, planned_run: Any, tmp_path: Path
) -> None:
    data = make_data("inverse", test=400, min_dim=4, max_dim=4)
    planned_run(data, plan_answers(open_dataset(data, "test")))
    metrics = evaluate_run(tmp_path / "run", verbose=True).metrics
    assert metrics["accuracy_published"] == metrics["outcomes"]["exact"]["proportion"] == 1
    assert metrics["accuracy"] == metrics["reference"]["5%"] < 1
    assert metrics["best_representable"]["1%"] > metrics["reference"]["1%"]
    dump = list(read_failures(tmp_path / "run" / "evaluation" / "test" / "failures.jsonl.zst"))
    assert len(dump) == round((1 - metrics["accuracy"]) * 400)
    assert {failure.outcome for failure in dump} == {"exact"}
    assert all(failure.error == failure.reference_error_l1 for failure in dump)


def test_batches_and_chunks_change_nothing(
    added: Path, make_run: Any, untrained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_run(added)
    model = untrained(record)
    tables = []
    for size, chunk in ((256, 10_000), (7, 30)):
        monkeypatch.setattr(evaluation, "_CHUNK_ROWS", chunk)
        monkeypatch.setattr(evaluation, "load_model", lambda run_dir, device, name: (model, record))
        found = evaluate_run(tmp_path / "run", limit=100, batch_size=size, out_dir=tmp_path / str(size))
        tables.append(pq.read_table(found.predictions))
        assert len(tables[-1]) == found.metrics["n"] == 100
    assert tables[0].drop_columns("log_probability") == tables[1].drop_columns("log_probability")
    np.testing.assert_allclose(*(t["log_probability"].to_numpy() for t in tables), rtol=1e-4)


def test_a_checkpoint_is_evaluated_on_the_dataset_it_names(
    added: Path, make_run: Any, untrained: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    record = make_run(added, output_encoding="B1999")
    run = tmp_path / "run"
    run.mkdir()
    save_checkpoint(run / CHECKPOINT, {"record": record.to_dict(), "model": untrained(record).state_dict()})
    found = evaluate_run(run, limit=20, device="cpu")
    assert sum(outcome["count"] for outcome in found.metrics["outcomes"].values()) == 20
    said = predictions_metadata(found.predictions)
    assert (said["task"], said["split"], said["step"], said["rows"]) == ("add", "test", 7, 20)
    assert (said["input_encoding"], said["output_encoding"]) == ("P1000", "B1999")
    assert said["dataset_digest"] == record.dataset_digest
    assert capfd.readouterr().err == ""  # no bar where there is no terminal
    assert sorted(p.name for p in (run / "evaluation" / "test.first-20").iterdir()) == [
        "accuracy_by_tolerance.csv",
        "analyses",
        "metrics.json",
        "predictions.parquet",
        "report.html",
    ]


def test_the_best_checkpoint_and_others_are_evaluated_by_name(
    added: Path, make_run: Any, untrained: Any, tmp_path: Path
) -> None:
    record = make_run(added)
    run = tmp_path / "run"
    (run / CHECKPOINTS).mkdir(parents=True)
    write_json(run / RECORD, record.to_dict())
    last, best = untrained(record), untrained(record)
    with torch.no_grad():
        best.output_bias[END] = 50  # says nothing but END
    save_checkpoint(run / CHECKPOINT, {"record": record.to_dict(), "model": last.state_dict()})
    save_checkpoint(run / BEST, {"record": {**record.to_dict(), "step": 3}, "model": best.state_dict()})
    found = [evaluate_run(run, limit=20, checkpoint=name) for name in ("last", "best", "checkpoints/best.pt")]
    assert [Path(each.directory).name for each in found] == [
        *("test.first-20", "test.best.first-20", "test.best.first-20"),
    ]
    assert [predictions_metadata(each.predictions)["step"] for each in (found[0], found[2])] == [7, 3]
    assert pq.read_table(found[2].predictions)["prediction"].to_pylist() == [""] * 20
    assert "--checkpoint checkpoints/best.pt" in Path(found[2].report).read_text()
    assert "--checkpoint" not in Path(found[0].report).read_text()
    with pytest.raises(UserError, match=r"(?s)no checkpoint 'other.pt'.*last, or one of checkpoints/best.pt"):
        evaluate_run(run, checkpoint="other.pt")


def test_evaluations_with_other_settings_lie_side_by_side(
    added: Path, make_run: Any, untrained: Any, tmp_path: Path
) -> None:
    record, run = make_run(added), tmp_path / "run"
    run.mkdir()
    write_json(run / RECORD, record.to_dict())
    save_checkpoint(run / CHECKPOINT, {"record": record.to_dict(), "model": untrained(record).state_dict()})
    other = shutil.copytree(added, tmp_path / "other")
    names = {
        "test": {},
        "test.first-20": {"limit": 20},
        "test.beam-2.constrained.first-9": {"limit": 9, "decoding": Decoding(beam=2, constrained=True)},
        "test.beam-2.penalty-0.5.to-the-end.first-9": {
            "limit": 9,
            "decoding": Decoding(beam=2, length_penalty=0.5, early_stopping=False),
        },
        "test.sampled-3-at-0.8-seed-1.first-9": {"limit": 9, "decoding": Decoding(temperature=0.8, samples=3, seed=1)},
        "test.of-other.first-9": {"limit": 9, "data_dir": other},
    }
    for more in names.values():
        evaluate_run(run, **more)
    assert {folder.name for folder in (run / "evaluation").iterdir()} == {*names}
    again = evaluate_run(run, data_dir=str(added), limit=10**6)  # as by default
    assert Path(again.directory).name == "test"


def test_a_model_that_diverged_is_evaluated_like_any_other(
    added: Path, make_run: Any, untrained: Any, planned_run: Any, tmp_path: Path
) -> None:
    model = untrained(make_run(added))
    torch.nn.init.constant_(model.output_bias, float("nan"))
    planned_run(added, model)
    found = evaluate_run(tmp_path / "run", limit=30, verbose=True)
    assert found.metrics["accuracy"] == 0
    assert found.metrics["mean_log_probability"] is None
    assert len(list(read_failures(found.failures or ""))) == 30


def test_another_dataset_of_the_task_and_one_of_another_task(
    added: Path, make_data: Any, plan_answers: Any, planned_run: Any, tmp_path: Path
) -> None:
    larger = make_data("add", test=20, min_dim=4, max_dim=4)
    planned_run(added, plan_answers(open_dataset(larger, "test")))
    assert evaluate_run(tmp_path / "run", data_dir=larger).metrics["accuracy"] == 1
    with pytest.raises(UserError, match="another task"):
        evaluate_run(tmp_path / "run", data_dir=make_data("transpose", test=10))
    planned_run(added, plan_answers(open_dataset(larger, "test")), data=str(larger))
    with pytest.raises(UserError, match="no longer contains the data of this run"):
        evaluate_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"limit": 0}, "limit is out of range"),
        ({"batch_size": 0}, "batch_size is out of range"),
        ({"split": "tset"}, "did you mean test"),
        ({"device": "cuda"}, "no CUDA device"),
    ],
)
def test_wrong_use_is_told(
    arguments: Any,
    words: str,
    added: Path,
    plan_answers: Any,
    planned_run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    planned_run(added, plan_answers(open_dataset(added, "test")))
    with pytest.raises(UserError, match=words):
        evaluate_run(tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_an_interrupted_evaluation_leaves_what_was_there(
    added: Path, plan_answers: Any, planned_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned_run(added, plan_answers(open_dataset(added, "test"), with_defects))
    whole = evaluate_run(tmp_path / "run", verbose=True)
    before = everything(whole.directory)
    with monkeypatch.context() as patched:
        patched.setattr(PartialResults, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate_run(tmp_path / "run", verbose=True)
    assert everything(whole.directory) == before
    evaluate_run(tmp_path / "run")  # not verbose: the dump of the earlier evaluation does not stay beside its figures
    assert "failures.jsonl.zst" not in {p.name for p in Path(whole.directory).iterdir()}


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def everything(folder: str | Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


class Reports:
    """A progress reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.total, self.fresh, self.earlier, self.closed = 0, 0, 0, 0

    def start(self, total: int) -> None:
        self.total = total

    def advance(self, count: int, *, fresh: bool = True) -> None:
        if fresh:
            self.fresh += count
        else:
            self.earlier += count

    def close(self) -> None:
        self.closed += 1


def test_what_was_killed_goes_on_where_it_stopped(
    added: Path, plan_answers: Any, planned_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "_CHUNK_ROWS", 50)  # row groups of 100 rows: parts of 50, 50, 50, 50, 30
    planned_run(added, plan_answers(open_dataset(added, "test"), with_defects))
    whole = evaluate_run(tmp_path / "whole", verbose=True)
    write, written = PartialResults.write, []

    def fourth_fails(self: PartialResults, k: int, *rest: Any) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(k)
        write(self, k, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(PartialResults, "write", fourth_fails)
        with pytest.raises(KeyboardInterrupt):
            evaluate_run(tmp_path / "run", verbose=True, progress=(killed := Reports()))
    assert (killed.total, killed.fresh, killed.earlier, killed.closed) == (230, 200, 0, 1)
    left = everything(tmp_path / "run")
    assert len(left) == 3 and all("/.partial/" in f"/{name}" for name in left)
    model = plan_answers(open_dataset(added, "test"), with_defects)
    planned_run(added, model)
    again = evaluate_run(tmp_path / "run", verbose=True, progress=(resumed := Reports()))
    assert (resumed.total, resumed.fresh, resumed.earlier, resumed.closed) == (230, 80, 150, 1)
    assert model.asked == 80  # the three parts that were there were not decoded again
    assert pq.read_table(again.predictions).equals(pq.read_table(whole.predictions))
    assert again.metrics | {"seconds": 0} == whole.metrics | {"seconds": 0}
    assert not (Path(again.directory) / ".partial").exists()


def test_parts_of_another_evaluation_are_not_taken(
    added: Path, plan_answers: Any, planned_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "_CHUNK_ROWS", 50)
    planned_run(added, plan_answers(open_dataset(added, "test")))
    with monkeypatch.context() as patched:
        patched.setattr(PartialResults, "join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate_run(tmp_path / "run")
    for change in ("weights", "settings"):
        model = plan_answers(open_dataset(added, "test"), with_defects)
        if change == "weights":
            with torch.no_grad():
                model.weight += 1
        planned_run(added, model)
        decoding = Decoding(constrained=change == "settings")
        found = evaluate_run(tmp_path / "run", decoding=decoding, limit=200)
        assert model.asked == 200
        assert found.metrics["n"] == 200


def test_constrained_answers_are_never_malformed(
    added: Path, make_run: Any, untrained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for encoding in ("P10", "FP15"):
        record = make_run(added, output_encoding=encoding)
        model = untrained(record)
        monkeypatch.setattr(evaluation, "load_model", lambda run_dir, device, name: (model, record))  # noqa: B023
        for decoding in (Decoding(constrained=True), Decoding(beam=3, constrained=True)):
            found = evaluate_run(tmp_path / "run", limit=30, decoding=decoding)
            outcomes = {name for name, o in found.metrics["outcomes"].items() if o["count"]}
            assert outcomes <= {"exact", "within_tolerance", "wrong_value"}


def test_every_hypothesis_is_verified_and_the_rank_of_the_right_one_recorded(
    added: Path, make_run: Any, untrained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_run(added)
    model = untrained(record)
    monkeypatch.setattr(evaluation, "load_model", lambda run_dir, device, name: (model, record))
    dataset = open_dataset(added, "test")
    truth = next(iter(dataset.chunks(stop=40)))

    def answers(model: Any, dataset: Dataset, rows: Any, *_: Any) -> Hypotheses:
        """Three hypotheses a problem; that of rank row % 4 is right, none where that is 3."""
        target = dataset.encode(rows).target.astype(np.int64)
        wrong = target.copy()
        wrong[:, 4] += 3
        tokens = np.stack([np.where((rows.row % 4 == k)[:, None], target, wrong) for k in range(3)], axis=1)
        n = len(rows)
        return Hypotheses(
            tokens.reshape(3 * n, -1), np.tile([-1.0, -2.0, -3.0], n), np.repeat(np.arange(n), 3), np.tile([0, 1, 2], n)
        )

    monkeypatch.setattr(evaluation, "decode_examples", answers)
    found = evaluate_run(tmp_path / "run", limit=40, decoding=Decoding(beam=3))
    table = pq.read_table(found.predictions)
    assert len(table) == 120
    best = table.filter(pc.equal(table["rank"], 0))
    place = [r % 4 for r in truth.row.tolist()]
    assert best["correct_rank"].to_pylist() == [None if k == 3 else float(k) for k in place]
    assert table.filter(pc.equal(table["rank"], 1))["correct_rank"].null_count == 40
    right = [o in ("exact", "within_tolerance") for o in table["outcome"].to_pylist()]
    assert right == [k == rank for k in place for rank in range(3)] == table["passed"].to_pylist()
    assert found.metrics["accuracy"] == np.mean([k == 0 for k in place])
    assert found.metrics["accuracy_any"] == np.mean([k < 3 for k in place])


def test_quick_accuracy_measures_the_first_rows_and_leaves_the_model_alone(added: Path, plan_answers: Any) -> None:
    dataset: Dataset = open_dataset(added, "test")
    model = plan_answers(dataset, with_defects)
    model.train()
    found = quick_accuracy(model, dataset, limit=50, batch_size=20)
    assert {*found} == {*quick_metric_names(dataset)}
    assert found["accuracy"] == found["accuracy_published"] == found["exact"] == pytest.approx(0.6)
    assert found["invalid"] == pytest.approx(0.2)
    assert found["mean_log_probability"] < 0
    assert model.asked == 50
    assert model.training
    assert all(type(value) is float for value in found.values())
