"""``mathpipe replicate``: run experiments of a published table, and note the results beside the published figures."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.pipeline.config.counts import CountRange
from mathpipe.pipeline.config.options import Choice
from mathpipe.pipeline.config.path_types import LocalPath
from mathpipe.pipeline.config.published_tables import Experiment, Size, experiments_of
from mathpipe.pipeline.console import log, quiet_option
from mathpipe.pipeline.published.costs import DEVICES, format_seconds, training_seconds
from mathpipe.pipeline.published.dvc_experiments import has_pipeline, run_in_dvc
from mathpipe.pipeline.published.records import add_seed, missing_seeds, read_record, record_path, write_metrics
from mathpipe.pipeline.published.results_page import page_path, write_page

RESULTS = Path("docs/results")


@click.command("replicate")
@click.argument("table")
@click.option(
    "--size",
    type=Choice(get_args(Size)),
    default="cpu",
    show_default=True,
    help="cpu: small forms of at most ten CPU-minutes each. full: the published sizes, which take days on a CPU.",
)
@click.option(
    "--row", "rows", multiple=True, help="Only this row, family or point; may be repeated.  [default: all rows]"
)
@click.option("--seeds", type=CountRange(1, 1000), default=1, show_default=True, help="Train with seeds 0 to N - 1.")
@click.option(
    "--results",
    type=LocalPath(file_okay=False, path_type=Path),
    default=RESULTS,
    show_default=True,
    help="Folder of the records; the page of results is written beside it.",
)
@click.option(
    "--dvc/--no-dvc",
    default=None,
    help="Run each row as an experiment of DVC.  [default: on in a repository with replicate/dvc.yaml]",
)
@click.option(
    "--metrics",
    type=LocalPath(dir_okay=False, path_type=Path),
    default=None,
    help="Also write the measures of the rows as JSON, for DVC.",
)
@click.option("--dry-run", is_flag=True, help="Only list what would run, and what it costs.")
@quiet_option
def replicate(
    table: str,
    size: Size,
    rows: tuple[str, ...],
    seeds: int,
    results: Path,
    dvc: bool | None,
    metrics: Path | None,
    dry_run: bool,
) -> None:
    """Run the experiments of a published table, and note each result beside the published figure.

    TABLE is a name that `mathpipe presets` lists. Finished rows are skipped, and an interrupted one resumes when the command runs
    again. Writes one record for each row into the folder of --results, and the page of all results beside it.

    \b
    Example:
      mathpipe replicate lawt-tasks --row transpose --row add
      mathpipe replicate lawt-spectra --size full --row trained-on/laplace --seeds 3
    """
    selected = select(experiments_of(table), table, rows)
    in_dvc = dvc if dvc is not None else has_pipeline() and results == RESULTS
    if in_dvc and results != RESULTS:
        raise UserError(
            "--dvc and --results exclude each other",
            expected=f"--results {RESULTS}, the folder of replicate/dvc.yaml",
            got=f"--results {results}",
            next_step="pass --no-dvc",
        )
    page_path(results)  # refuses to replace a file of the user
    for experiment in selected:
        record = read_record(record_path(results, table, experiment.name, size))
        missing = missing_seeds(record, experiment.sections(size), seeds)
        if dry_run:
            click.echo(f"{experiment.name:<40} {_describe(experiment, size, missing)}")
        elif not missing:
            log(f"{experiment.name}: finished before")
        elif in_dvc:
            run_in_dvc(experiment, size, seeds)
        else:
            for seed in missing:
                _run(experiment, size, seed, results)
    if not dry_run:
        click.echo(f"results: {write_page(results)}")
    if metrics is not None:
        write_metrics(metrics, [record_path(results, table, experiment.name, size) for experiment in selected])


def _run(experiment: Experiment, size: Size, seed: int, results: Path) -> None:
    """Run one seed of an experiment and write its record and the page."""
    from mathpipe.pipeline.published.replication import Folders, replicate  # imports torch: --dry-run does without

    needs = experiment.needs(size)
    log(f"{experiment.preset}, {size}, seed {seed}" + (f"; needs {needs}" if needs else ""))
    folders, parameters = Folders(), experiment.sections(size)
    result = replicate(experiment, size, parameters, seed, folders)
    add_seed(results, experiment, size, parameters, result)
    write_page(results)
    for name, measured in result.measurements.items():
        value = "not measured" if measured.value is None else f"{100 * measured.value:.2f} %"
        click.echo(f"{experiment.preset}, {size}, seed {seed}, {name}: {value} of {measured.problems:,}")


def select(candidates: tuple[Experiment, ...], table: str, rows: tuple[str, ...]) -> list[Experiment]:
    """The experiments that the rows name: one of them, or all points of a family; all of the table without rows."""
    if not rows:
        return list(candidates)
    selected = []
    for row in rows:
        matching = [e for e in candidates if row in (e.name, e.row)]
        if not matching:
            names = [name for e in candidates for name in (e.row, e.name)]
            raise UserError(
                f"{table} has no row {row!r}",
                expected=f"one of {', '.join(dict.fromkeys(e.row for e in candidates))}",
                got=repr(row),
                next_step=did_you_mean(row, names),
            )
        selected += [e for e in matching if e not in selected]
    return selected


def _describe(experiment: Experiment, size: Size, missing: list[int]) -> str:
    """What is left to run, and the measured cost of training."""
    if not missing:
        return "finished"
    costs = [
        f"{format_seconds(seconds)} on {DEVICES[device]}"
        for device, seconds in training_seconds(experiment, size).items()
    ]
    seeds = "seed" if len(missing) == 1 else "seeds"
    return f"{seeds} {', '.join(map(str, missing))}; training {' or '.join(costs) or 'not timed'}" + (
        " each" if costs else ""
    )
