"""Settings of an evaluation: checkpoints, datasets, result directories, invalid values."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.atomic_files import write_json
from mathpipe.datasets.tokenizers.tokenizer import END
from mathpipe.evaluate.decode.hypotheses import Decoding
from mathpipe.evaluate.predictions import predictions_metadata
from mathpipe.evaluate.run import evaluate_run
from mathpipe.train.run.checkpoint import save_checkpoint
from mathpipe.train.run.run_record import BEST, CHECKPOINT, CHECKPOINTS, RECORD


def test_checkpoint_is_evaluated_on_its_dataset(
    addition_data: Path, make_run: Any, untrained: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    record = make_run(addition_data, output_encoding="B1999")
    run = tmp_path / "run"
    run.mkdir()
    save_checkpoint(run / CHECKPOINT, {"record": record.to_dict(), "model": untrained(record).state_dict()})
    result = evaluate_run(run, limit=20, device="cpu")
    assert sum(outcome["count"] for outcome in result.metrics["outcomes"].values()) == 20
    metadata = predictions_metadata(result.predictions)
    assert (metadata["task"], metadata["split"], metadata["step"], metadata["rows"]) == ("add", "test", 7, 20)
    assert (metadata["input_encoding"], metadata["output_encoding"]) == ("P1000", "B1999")
    assert metadata["dataset_digest"] == record.dataset_digest
    assert capfd.readouterr().err == ""  # no progress bar without a terminal
    assert sorted(p.name for p in (run / "evaluation" / "test.first-20").iterdir()) == [
        "accuracy_by_tolerance.csv",
        "analyses",
        "evaluation.json",
        "metrics.json",
        "predictions.parquet",
        "report.html",
    ]


def test_best_and_named_checkpoints(addition_data: Path, make_run: Any, untrained: Any, tmp_path: Path) -> None:
    record = make_run(addition_data)
    run = tmp_path / "run"
    (run / CHECKPOINTS).mkdir(parents=True)
    write_json(run / RECORD, record.to_dict())
    last, best = untrained(record), untrained(record)
    with torch.no_grad():
        best.output_bias[END] = 50  # predicts END alone
    save_checkpoint(run / CHECKPOINT, {"record": record.to_dict(), "model": last.state_dict()})
    save_checkpoint(run / BEST, {"record": {**record.to_dict(), "step": 3}, "model": best.state_dict()})
    results = [evaluate_run(run, limit=20, checkpoint=name) for name in ("last", "best", "checkpoints/best.pt")]
    assert [Path(each.directory).name for each in results] == [
        *("test.first-20", "test.best.first-20", "test.best.first-20"),
    ]
    assert [predictions_metadata(each.predictions)["step"] for each in (results[0], results[2])] == [7, 3]
    assert pq.read_table(results[2].predictions)["prediction"].to_pylist() == [""] * 20
    assert "--checkpoint checkpoints/best.pt" in Path(results[2].report).read_text()
    assert "--checkpoint" not in Path(results[0].report).read_text()
    with pytest.raises(UserError, match=r"(?s)no checkpoint 'other.pt'.*last, or one of checkpoints/best.pt"):
        evaluate_run(run, checkpoint="other.pt")


def test_settings_have_their_own_directories(
    addition_data: Path, make_run: Any, untrained: Any, tmp_path: Path
) -> None:
    record, run = make_run(addition_data), tmp_path / "run"
    run.mkdir()
    write_json(run / RECORD, record.to_dict())
    save_checkpoint(run / CHECKPOINT, {"record": record.to_dict(), "model": untrained(record).state_dict()})
    other = shutil.copytree(addition_data, tmp_path / "other")
    names = {
        "test": {},
        "test.first-20": {"limit": 20},
        "test.beam-2.constrained.first-9": {"limit": 9, "decoding": Decoding(beam=2, constrained=True)},
        "test.beam-2.penalty-0.5.no-early-stopping.first-9": {
            "limit": 9,
            "decoding": Decoding(beam=2, length_penalty=0.5, early_stopping=False),
        },
        "test.sampled-3-at-0.8-seed-1.first-9": {"limit": 9, "decoding": Decoding(temperature=0.8, samples=3, seed=1)},
        "test.of-other.first-9": {"limit": 9, "data_dir": other},
    }
    for settings in names.values():
        evaluate_run(run, **settings)
    assert {folder.name for folder in (run / "evaluation").iterdir()} == {*names}
    by_default = evaluate_run(run, data_dir=str(addition_data), limit=10**6)
    assert Path(by_default.directory).name == "test"


def test_other_datasets(
    addition_data: Path, make_data: Any, plan_answers: Any, planned_run: Any, tmp_path: Path
) -> None:
    larger = make_data("add", test=20, min_dim=4, max_dim=4)
    load = planned_run(addition_data, plan_answers(open_dataset(larger, "test", "P1000", "P1000")))
    assert evaluate_run(tmp_path / "run", data_dir=larger, load=load).metrics["accuracy"] == 1
    with pytest.raises(UserError, match="another task"):
        evaluate_run(tmp_path / "run", data_dir=make_data("transpose", test=10), load=load)
    load = planned_run(addition_data, plan_answers(open_dataset(larger, "test", "P1000", "P1000")), data=str(larger))
    with pytest.raises(UserError, match="no longer contains the data of this run"):
        evaluate_run(tmp_path / "run", load=load)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "limit is out of range"),
        ({"batch_size": 0}, "batch_size is out of range"),
        ({"split": "tset"}, "did you mean test"),
        ({"device": "cuda"}, "no CUDA device"),
    ],
)
def test_user_errors(
    arguments: Any,
    message: str,
    addition_data: Path,
    plan_answers: Any,
    planned_run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    load = planned_run(addition_data, plan_answers(open_dataset(addition_data, "test", "P1000", "P1000")))
    with pytest.raises(UserError, match=message):
        evaluate_run(tmp_path / "run", **arguments, load=load)
    assert not (tmp_path / "run").exists()
