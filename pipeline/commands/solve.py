"""``mathpipe solve``: ask a trained model one problem."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mathpipe.datasets.errors import UserError
from mathpipe.evaluate.decode.hypotheses import BEAM
from mathpipe.evaluate.run_dataset import data_of_run
from mathpipe.generate.outcomes import DOMAINS, Domain
from mathpipe.pipeline.config.counts import CountRange
from mathpipe.pipeline.config.options import Choice, external_task_option
from mathpipe.pipeline.config.path_types import LocalPath
from mathpipe.pipeline.console import quiet_option
from mathpipe.train.run.run_record import list_runs, read_record

if TYPE_CHECKING:
    from mathpipe.pipeline.solving import SolvedProblem, VerifiedHypothesis


@click.command("solve")
@click.argument("problem", required=False)
@click.option(
    "--run", type=LocalPath(), default=None, help="Directory of the run.  [default: list the runs below runs/]"
)
@click.option("--beam", type=CountRange(min=1), default=BEAM, show_default=True, help="Hypotheses at most.")
@click.option("--checkpoint", default="last", show_default=True, help="last, best, or a file in the run's directory.")
@click.option(
    "--notation", default=None, metavar="NAME", help="tokens, infix, latex or lists.  [default: any for expressions]"
)
@click.option(
    "--domain",
    type=Choice(DOMAINS),
    default="real",
    show_default=True,
    help="complex: the outcome real_domain does not count as correct.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each problem.")
@external_task_option
@quiet_option
def solve(
    problem: str | None,
    run: str | None,
    beam: int,
    checkpoint: str,
    notation: str | None,
    domain: Domain,
    as_json: bool,
) -> None:
    """Ask the model of a run one PROBLEM, or every line of a file: beam search, every hypothesis verified and shown.

    Without --run the runs below runs/ are listed.

    \b
    Example:
      mathpipe solve --run runs/integration-bwd "x*sin(x)"
      mathpipe solve --run runs/inverse "[[2, 1], [1/2, 4]]"
    """
    if run is None:
        _list_runs()
        return
    if problem is None:
        raise UserError("no problem to solve", expected="text such as x*sin(x), a matrix, or a file")
    read_record(Path(run))  # a misspelt run is an error before torch is imported
    from mathpipe.pipeline.solving import open_solver

    solver = open_solver(run, beam=beam, checkpoint=checkpoint, notation=notation, domain=domain)
    for text in _problems(problem):
        solved = solver.solve(text)
        click.echo(json.dumps(_as_json(text, solved)) if as_json else _describe(solved))


def _list_runs() -> None:
    runs = list_runs()
    if not runs:
        raise UserError(
            "there is no run below runs/",
            expected="a run with a checkpoint",
            next_step="train one with `mathpipe train`, or name its directory with --run",
        )
    width = max(len(name) for name, _ in runs)
    for name, record in runs:
        origin = record.imported_from or f"{record.config.steps:,} steps, {data_of_run(record, Path(name))}"
        click.echo(f"{name:<{width}}  {record.task}, {origin}")


def _problems(problem: str) -> list[str]:
    """The problem itself, or the lines of the file that has this name."""
    try:
        is_file = Path(problem).is_file()
    except (OSError, ValueError):  # too long for a name
        is_file = False
    if not is_file:
        return [problem]
    lines = Path(problem).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return [line for line in lines if line.strip()]


def _describe(solved: SolvedProblem) -> str:
    lines = _indent("problem", solved.lines)
    for hypothesis in solved.hypotheses:
        lines.append(_headline(hypothesis))
        lines += _indent("", hypothesis.lines)
    return "\n".join([*lines, ""])


def _headline(hypothesis: VerifiedHypothesis) -> str:
    verification = hypothesis.verification
    evidence = f", {verification.evidence}" if verification.evidence is not None else ""
    error = verification.measures.get("error_l1")
    measure = "" if error is None else f", error_l1 {error:.2e}"
    reason = "" if verification.reason is None else f" ({verification.reason})"
    mark = "right" if verification.correct else "wrong"
    outcome = f"{mark}: {verification.outcome}{evidence}{measure}{reason}"
    return f"{hypothesis.rank + 1:>2}.  log p {hypothesis.log_probability:8.3f}  {outcome}"


def _indent(name: str, shown: tuple[str, ...]) -> list[str]:
    return [f"{name if k == 0 else '':<8}{line}" for k, line in enumerate(shown)]


def _as_json(problem: str, solved: SolvedProblem) -> dict[str, Any]:
    return {
        "problem": problem,
        "hypotheses": [
            {
                "rank": each.rank,
                "answer": "\n".join(each.lines),
                "tokens": each.tokens,
                "log_probability": each.log_probability,
                **each.verification.to_json(),
            }
            for each in solved.hypotheses
        ],
    }
