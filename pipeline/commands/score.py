"""``mathpipe score``: verify answers that any model wrote."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

import click

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.atomic_files import open_output
from mathpipe.generate.answers.answer_stream import INVALID_LINE, ScoredLine, score_file, score_path
from mathpipe.generate.answers.answer_text import EXTRACTIONS, Extraction
from mathpipe.generate.answers.answer_verifier import SECONDS, AnswerVerifier
from mathpipe.generate.answers.mixture_verifier import MixtureVerifier
from mathpipe.generate.outcomes import DOMAINS, Domain
from mathpipe.pipeline.config.columns import parse_columns
from mathpipe.pipeline.config.counts import CountRange
from mathpipe.pipeline.config.options import Choice, TaskCommand, configured_task
from mathpipe.pipeline.config.path_types import LocalPath, Location
from mathpipe.pipeline.console import handle_sigterm, log, quiet_option

FAULTS = (INVALID_LINE, "invalid_problem")  # of the input, not of an answer


@click.command("score", cls=TaskCommand)
@click.argument("file", type=Location(), metavar="FILE")
@click.option(
    "--task", required=True, help="Task of the problems: a name, a file (./euclid.py) or a module (my.module:Euclid)."
)
@click.option(
    "--out",
    type=LocalPath(),
    default=None,
    metavar="FILE",
    help="File for the result lines.  [default: standard output]",
)
@click.option(
    "--columns",
    default=None,
    metavar="NAMES",
    help="Fields of the objects, also reference=NAME, id=NAME and task=NAME.  [default: problem=problem,answer=answer]",
)
@click.option(
    "--notation",
    default=None,
    metavar="NAME",
    help="Notation of problems and answers: tokens, infix, latex or lists.  [default: for expressions any, for matrices and "
    "integers lists]",
)
@click.option(
    "--extract",
    type=Choice(EXTRACTIONS),
    default=None,
    help="Where in a text the answer stands: in the last \\boxed{...}, or on the last line.  [default: the whole text]",
)
@click.option(
    "--domain",
    type=Choice(DOMAINS),
    default="real",
    show_default=True,
    help="complex: the outcome real_domain does not count as correct.",
)
@click.option(
    "--workers", type=CountRange(min=0), default=0, show_default=True, help="Processes that verify; 0: this one."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=SECONDS,
    show_default=True,
    help="Time limit of one answer; beyond it the outcome is timeout.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@quiet_option
def score(
    file: str,
    task: str,
    out: str | None,
    columns: str | None,
    notation: str | None,
    extract: Extraction | None,
    domain: Domain,
    workers: int,
    seconds: float,
    as_json: bool,
    **flags: Any,
) -> None:
    """Verify the answers of FILE (- for standard input), a JSON object with problem and answer on each line.

    A file whose name ends in .csv, .parquet or .arrow is a table with these columns.

    Writes one JSON object a line, in the same order: line, outcome, correct, measures, evidence. A summary of the outcomes follows
    on standard error, or with --out on standard output. An answer that cannot be parsed is malformed; no answer stops the command.
    Nothing is evaluated. See docs/guides/scoring.md.

    With --task cotraining each line names its task in the field task, as T or transpose. With --columns task=NAME the lines of any
    other task may name one of mathpipe's; lines without belong to --task.

    \b
    Example:
      mathpipe score --task integration-bwd answers.jsonl --extract boxed > results.jsonl
      mathpipe score --task inverse --columns problem=matrix,answer=output --workers 2 --out results.jsonl answers.jsonl
    """
    outcomes, num_correct = Counter[str](), 0
    roles, named_task = parse_columns(columns, ("problem", "answer")), configured_task(task, flags)
    verifier_of = functools.partial(
        AnswerVerifier, notation=notation, extraction=extract, domain=domain, seconds=seconds
    )
    mixture = MixtureVerifier(named_task, verifier_of)
    if mixture.is_mixture:
        roles.setdefault("task", "task")
    single = None if "task" in roles else verifier_of(named_task)
    faults: dict[str, str] = {}  # outcome -> the first line that has it, and why
    lines = _scored(file, single or mixture, roles, workers)
    with handle_sigterm(), _open_output(out) as results:
        for line in lines:
            outcomes[line.verification.outcome] += 1
            num_correct += line.verification.correct
            if line.verification.outcome in FAULTS:
                faults.setdefault(line.verification.outcome, f"line {line.number:,}: {line.verification.reason}")
            _write(results, line)
    summary = _summary(outcomes, num_correct)
    text = json.dumps(summary) if as_json else _describe(summary, faults)
    if out is None:
        log(text)
    else:
        click.echo(text)
    if outcomes and outcomes.keys() <= set(FAULTS):
        raise UserError(
            f"no line of {file} is an answer to a problem of {named_task.name}",
            got="; ".join(faults.values()),
            next_step="check --task, --notation and the names of the fields (--columns)",
        )


def _scored(
    file: str, verifier: AnswerVerifier | MixtureVerifier, roles: dict[str, str], workers: int
) -> Iterator[ScoredLine]:
    if file == "-":
        return score_file(sys.stdin.buffer, verifier, roles, workers)
    return score_path(file, verifier, roles, workers)


@contextlib.contextmanager
def _open_output(out: str | None) -> Iterator[IO[str]]:
    if out is None:
        yield sys.stdout
        return
    with open_output(out) as file:
        results = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
        yield results
        results.detach()


def _write(file: IO[str], line: ScoredLine) -> None:
    file.write(json.dumps(line.to_json()) + "\n")


def _summary(outcomes: Counter[str], num_correct: int) -> dict[str, Any]:
    return {"answers": outcomes.total(), "correct": num_correct, "outcomes": dict(outcomes.most_common())}


def _describe(summary: dict[str, Any], faults: dict[str, str]) -> str:
    total = summary["answers"]
    if not total:
        return "no answers"
    lines = [f"{name:<16} {count:>10,}  {100 * count / total:6.2f} %" for name, count in summary["outcomes"].items()]
    correct = summary["correct"]
    lines += [f"first {outcome}, {fault}" for outcome, fault in faults.items()]
    lines += ["other fields are named by --columns problem=NAME,answer=NAME"] if "no column" in str(faults) else []
    return "\n".join([*lines, f"{correct:,} of {total:,} answers are correct ({100 * correct / total:.2f} %)"])
