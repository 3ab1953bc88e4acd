"""The files of a run and its record.

run.json          the record of the run: data, digest, task, encodings, configuration
checkpoint.pt     model, optimiser, random generators, position in the data, step; the record
checkpoints/      permanent: step-<s>.pt every ``keep_every`` steps, and best.pt, the best weights by ``best_metric``
                  with their step and metrics; the record
curves.jsonl      metrics log, one line per logged step
learning_curve.png
summary.json      the last metrics, written when the run is finished
continue.yaml     of an imported model only: parameters that train it further, in another directory
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.similar_directories import similar_directories, suggest
from mathpipe.datasets.problem_types.type_registry import problem_type_of
from mathpipe.datasets.tokenizers.tokenizer import Tokenizer
from mathpipe.train.config import TrainConfig

RECORD, CHECKPOINT, CURVES, SUMMARY = "run.json", "checkpoint.pt", "curves.jsonl", "summary.json"
CHECKPOINTS, PLOT = "checkpoints", "learning_curve.png"
PARAMS = "continue.yaml"
BEST = f"{CHECKPOINTS}/best.pt"
OnMismatch = Literal["error", "restart"]
"""What to do with a directory that holds another run."""


@dataclass(frozen=True)
class RunRecord:
    """Description of a run. ``data``: the dataset, relative to the directory of the run, or its URL; ``step``: steps taken.

    In run.json ``step`` is 0.
    ``imported_from``: the file of an imported model, whose ``data`` and ``dataset_digest`` are empty where no dataset was named.
    """

    data: str
    dataset_digest: str
    task: str
    spec: dict[str, Any]
    input_encoding: str
    output_encoding: str
    precision: int
    config: TrainConfig
    step: int = 0
    imported_from: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the configuration as a nested dict."""
        return asdict(replace(self, config=None)) | {"config": self.config.model_dump(mode="json")}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: Path) -> RunRecord:
        """The record; UserError that names ``where`` if this version cannot parse it."""
        try:
            return cls(**(values | {"config": TrainConfig.model_validate(values["config"])}))
        except (KeyError, TypeError, ValidationError) as error:
            cause = str(error.errors()[0]["loc"]) if isinstance(error, ValidationError) else repr(error)
            raise UserError(
                f"{where} has a record that this version cannot read",
                got=cause,
                cause="written by another version of mathpipe",
                next_step="use that version, or train again in another directory",
            ) from None


def read_record(run_dir: Path) -> RunRecord:
    """The record of a run (step 0); UserError for a directory without a run."""
    path = run_dir / RECORD
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(
            f"{run_dir} holds no run",
            expected=f"a directory that contains {RECORD}",
            next_step=suggest(similar_directories(str(run_dir), RECORD, "runs")) or "create one with `mathpipe train`",
        ) from None
    except ValueError:
        raise UserError(f"{path} is damaged", expected="JSON", next_step="train again in another directory") from None
    return RunRecord.from_dict(values, path)


def list_runs(root: str | Path = "runs") -> list[tuple[str, RunRecord]]:
    """Every run below ``root`` that has a checkpoint, by name, with its record."""
    runs = [path.parent for path in sorted(Path(root).glob(f"**/{CHECKPOINT}")) if ".old-" not in str(path)]
    return [(str(run), read_record(run)) for run in runs]


def tokenizers(record: RunRecord) -> tuple[Tokenizer, Tokenizer]:
    """The tokenizers of problems and solutions."""
    return problem_type_of(record.spec).tokenizers(
        record.spec, record.input_encoding, record.output_encoding, record.precision
    )
