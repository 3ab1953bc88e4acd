"""The page of results, made from the records alone: every row of every table, in both sizes, run or not."""

from __future__ import annotations

from pathlib import Path

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.atomic_files import write_atomically
from mathpipe.pipeline.config.published_tables import (
    SIZES,
    Experiment,
    Size,
    Table,
    experiments_of,
    load_table,
    table_names,
)
from mathpipe.pipeline.published.costs import format_seconds
from mathpipe.pipeline.published.records import CLASSES, Measurement, Record, SeedResult, read_record, record_path

_HEADER = """# Published results and ours

Made by `mathpipe replicate` from the records in `{folder}/`; do not edit. A record is a JSON file with the parameters, seeds,
versions and commands of a row.

- *Ours*: the share of right answers on fresh test problems, with Wilson's 95 % interval, for each seed.
- *Setup*: `cpu` forms are smaller than the published experiments and take at most ten CPU-minutes; `full` forms have the
  published sizes.
- *Rounded reference*: the accuracy of the stored answers after encoding. *Best representable*: that of the best encodable answers
  that a search found.
- *Time*: generation, training and evaluation; on a CPU the time of all its threads, on a GPU elapsed time.

`mathpipe presets` shows what each row costs.
"""
_COLUMNS = (
    "row", "setup", "published", "ours (95 %)", "rounded reference", "best representable", "examples", "device", "time",
)  # fmt: skip


def page_path(results: Path) -> Path:
    """Path of the page; UserError if a file of this name is not a page of results."""
    page = results.parent / f"{results.name}.md"
    title = _HEADER.partition("\n")[0]
    if page.exists() and not page.read_text(encoding="utf-8", errors="replace").startswith(title):
        raise UserError(
            f"{page} would be replaced",
            expected=f"no such file, or a page that begins with {title!r}",
            cause="the page of results is written beside the folder of --results",
            next_step="choose another folder with --results",
        )
    return page


def write_page(results: Path) -> Path:
    """Write the page beside the folder of records: ``docs/results.md`` for ``docs/results``."""
    page = page_path(results)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, [page_text(results).encode()])
    return page


def page_text(results: Path) -> str:
    """The page of the records in a folder; the same records give the same text."""
    sections = [_HEADER.format(folder=results.name)]
    paper = None
    for name in sorted(table_names(), key=lambda table: (load_table(table).paper, table)):
        table = load_table(name)
        if table.paper != paper:
            sections.append(f"## {table.paper}\n")
            paper = table.paper
        sections.append(_table_text(name, table, results))
    return "\n".join(sections)


def _table_text(name: str, table: Table, results: Path) -> str:
    lines = [f"### {name}: {table.title}", ""]
    if table.note:
        lines += [table.note, ""]
    records = {
        (experiment.name, size): record
        for experiment in experiments_of(name)
        for size in SIZES
        if (record := read_record(record_path(results, name, experiment.name, size))) is not None
    }
    if records:
        lines += [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
        for experiment in experiments_of(name):
            for size in SIZES:
                if (record := records.get((experiment.name, size))) is not None:
                    lines += _record_lines(experiment, size, record)
        lines += ["", *(_details(record, results) for record in records.values()), ""]
    not_run = [_not_run(name, size, {row for row, at in records if at == size}) for size in SIZES]
    return "\n".join([*lines, *(line for line in not_run if line is not None)]) + "\n"


def _record_lines(experiment: Experiment, size: Size, record: Record) -> list[str]:
    """One line for each evaluation of a record."""
    lines = []
    is_current = record.parameters == experiment.sections(size)
    for name, figure in record.published.items():
        measurements = [(seed, seed.measurements[name]) for seed in record.seeds]
        first = measurements[0][1]
        row = record.row if len(record.published) == 1 else f"{record.row}: {name}"
        cells = [
            row,
            f"{size}: {record.about}" + ("" if is_current else " (settings have changed since)"),
            str(figure) if figure is not None else "",
            "; ".join(_ours(seed, measured, record) for seed, measured in measurements),
            _percent(first.reference),
            _percent(first.best_representable),
            f"{record.seeds[0].examples:,}",
            record.seeds[0].device,
            "; ".join(dict.fromkeys(_time(seed) for seed in record.seeds)),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _ours(seed: SeedResult, measured: Measurement, record: Record) -> str:
    """``99.12 % (98.90 to 99.30) of 10,000``, after the seed if there are several."""
    prefix = f"seed {seed.seed}: " if len(record.seeds) > 1 else ""
    if measured.value is None:
        return f"{prefix}not measured"
    if record.measure == CLASSES:
        return f"{prefix}{100 * measured.value:.0f} % of the classes, {measured.problems:,} problems"
    text = f"{prefix}{100 * measured.value:.2f} %"
    if measured.interval is not None:
        low, high = measured.interval
        text += f" ({100 * low:.2f} to {100 * high:.2f})"
    return f"{text} of {measured.problems:,}"


def _percent(proportion: float | None) -> str:
    return "" if proportion is None else f"{100 * proportion:.2f} %"


def _time(seed: SeedResult) -> str:
    if seed.device_type == "cpu":
        total = sum(cpu for cpu in seed.cpu_seconds.values() if cpu is not None)
        text = f"{format_seconds(total)} CPU"
        if seed.cpu_seconds["train"] is None:
            text += f" and {format_seconds(seed.seconds['train'])} elapsed of resumed training"
        return text + (", without generation (data made before)" if seed.cpu_seconds["generate"] is None else "")
    return format_seconds(sum(seed.seconds.values()))


def _details(record: Record, results: Path) -> str:
    """Command, seeds and versions of a record, and its file."""
    path = record_path(results, record.table, record.row, record.size).relative_to(results.parent).as_posix()
    made_by = dict.fromkeys(
        ", ".join(f"{name} {version}" for name, version in seed.versions.items()) for seed in record.seeds
    )
    dates = ", ".join(dict.fromkeys(seed.date for seed in record.seeds))
    return f"- [{record.row}, {record.size}]({path}): `{record.command}`, {dates}; {'; '.join(made_by)}"


def _not_run(table: str, size: Size, finished: set[str]) -> str | None:
    """The rows of a table that were not run at this size; a family none of whose points was run is named once."""
    rows: dict[str, list[str]] = {}
    for experiment in experiments_of(table):
        rows.setdefault(experiment.row, []).append(experiment.name)
    missing = []
    for row, names in rows.items():
        absent = [name for name in names if name not in finished]
        if len(absent) == len(names) > 1:
            missing.append(f"{row} ({len(names)} points)")
        else:
            missing += absent
    return f"Not run at size {size}: {', '.join(missing)}.\n" if missing else None
