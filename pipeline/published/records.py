"""Records of finished experiments: one JSON file for each experiment and size, ``docs/results/TABLE/ROW.SIZE.json``.

A record holds what made it: parameters, seeds, versions, device, command. Each seed adds one entry. The page of results is made
from the records alone.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.atomic_files import write_atomically, write_json
from mathpipe.pipeline.config.parameter_files import Sections
from mathpipe.pipeline.config.published_tables import Experiment, Figure, Size

CLASSES = "classes_predicted"  # a count in metrics.json; here a proportion of all classes


class Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measurement(Entry):
    """One evaluation of one seed.

    ``value``: the measure, a proportion of ``problems``; None where it has no meaning. ``interval``: Wilson's 95 % interval for as
    many problems (conservative for means over the tokens or bits of a problem), None for counts of classes. ``reference``: the
    accuracy of the stored answers after encoding; ``best_representable``: of the best encodable answers.
    """

    value: float | None
    interval: tuple[float, float] | None
    problems: int
    reference: float | None = None
    best_representable: float | None = None
    by_tolerance: dict[str, float] | None = None


class SeedResult(Entry):
    """One trained model. ``seconds``, ``cpu_seconds``: by stage; the CPU time is None if a stage was interrupted or reused."""

    seed: int
    steps: int
    examples: int
    outcome: str
    measurements: dict[str, Measurement]
    seconds: dict[str, float]
    cpu_seconds: dict[str, float | None]
    device: str
    device_type: Literal["cpu", "cuda"]
    threads: int
    versions: dict[str, str]
    date: str


class Record(Entry):
    """Everything known of an experiment at one size. ``published``: figures by evaluation."""

    table: str
    row: str
    size: Size
    about: str
    task: str
    measure: str
    published: dict[str, Figure | None]
    command: str
    parameters: Sections
    seeds: list[SeedResult]


def parameters_digest(parameters: Sections) -> str:
    """A digest of the parameters of an experiment."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:16]


def file_name(name: str) -> str:
    """The name of an experiment as part of a path: without spaces and further slashes."""
    return name.replace("/", ".").replace(" ", "-")


def record_path(results: Path, table: str, name: str, size: Size) -> Path:
    """Path of the record of an experiment."""
    return results / table / f"{file_name(name)}.{size}.json"


def read_record(path: Path) -> Record | None:
    """A record, or None if there is no file; UserError for a damaged one."""
    if not path.exists():
        return None
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8-sig"))
    except ValidationError as error:
        raise UserError(
            f"{path} is not a record of an experiment",
            expected="a file that `mathpipe replicate` wrote",
            got=error.errors()[0]["msg"],
            next_step="remove the file, and run the experiment again",
        ) from None


def add_seed(results: Path, experiment: Experiment, size: Size, parameters: Sections, result: SeedResult) -> Record:
    """Write the record with the result of one more seed. Results with other parameters are dropped."""
    path = record_path(results, experiment.table, experiment.name, size)
    earlier = read_record(path)
    seeds = [] if earlier is None or earlier.parameters != parameters else earlier.seeds
    seeds = sorted([s for s in seeds if s.seed != result.seed] + [result], key=lambda s: s.seed)
    record = Record(
        table=experiment.table,
        row=experiment.name,
        size=size,
        about=experiment.about(size),
        task=str(parameters["generate"].get("task")),
        measure=experiment.measure,
        published={name: e.figure(experiment.label) for name, e in experiment.evaluations.items()},
        command=command_of(experiment, size, len(seeds)),
        parameters=parameters,
        seeds=seeds,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, [(record.model_dump_json(indent=1) + "\n").encode()])
    return record


def write_metrics(path: Path, record_paths: list[Path]) -> None:
    """The measures of records as JSON for DVC: row -> seed -> evaluation -> proportion."""
    records = [record for record_file in record_paths if (record := read_record(record_file)) is not None]
    values = {
        record.row: {
            f"seed {s.seed}": {name: measured.value for name, measured in s.measurements.items()} for s in record.seeds
        }
        for record in records
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, values)


def command_of(experiment: Experiment, size: Size, num_seeds: int) -> str:
    """The command that makes a record."""
    row = f"'{experiment.name}'" if " " in experiment.name else experiment.name
    seeds = f" --seeds {num_seeds}" if num_seeds > 1 else ""
    return f"mathpipe replicate {experiment.table} --row {row} --size {size}{seeds}"


def missing_seeds(record: Record | None, parameters: Sections, num_seeds: int) -> list[int]:
    """The seeds 0..num_seeds - 1 for which there is no result with these parameters."""
    finished = set() if record is None or record.parameters != parameters else {s.seed for s in record.seeds}
    return [seed for seed in range(num_seeds) if seed not in finished]


def measurement(metrics: dict[str, Any], measure: str, trained: dict[str, float], valid_problems: int) -> Measurement:
    """The measure of an evaluation: a key of metrics.json, nested ones with slashes; else a metric of training."""
    from mathpipe.evaluate.analyze.statistics import wilson  # imports scipy: a list of presets does without

    problems: int = metrics["n"]
    value: Any = metrics
    for key in measure.split("/"):
        value = value.get(key) if isinstance(value, dict) else None
    if measure in trained and value is None:
        value, problems = trained[measure], valid_problems
    is_count = measure == CLASSES
    if value is not None:
        value = value / max(metrics["classes"], 1) if is_count else float(value)
    interval = None if value is None or is_count else wilson(round(value * problems), problems)
    tolerance = measure.split("/")[-1] if "/" in measure else "5%"
    return Measurement(
        value=value,
        interval=interval,
        problems=problems,
        reference=metrics.get("reference", {}).get(tolerance, metrics.get("reference_accuracy")),
        best_representable=metrics.get("best_representable", {}).get(tolerance),
        by_tolerance=metrics.get("by_tolerance", {}).get("l1"),
    )
