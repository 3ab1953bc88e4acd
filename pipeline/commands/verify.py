"""``mathpipe verify``: verify every file and every solution of a dataset; with ``--prove``, by proofs."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import click

from mathpipe.datasets.format.manifest import Manifest, read_manifest
from mathpipe.datasets.rendering.plurals import counted
from mathpipe.generate.curate.dataset_proofs import EvidenceReport, prove_dataset
from mathpipe.generate.curate.dataset_verification import Damage, VerificationReport, verify_dataset
from mathpipe.pipeline.config.options import execution_options, external_task_option
from mathpipe.pipeline.config.path_types import Location
from mathpipe.pipeline.console import EXIT_DAMAGED, Terminated, handle_sigterm, log, quiet_option, warn
from mathpipe.pipeline.progress import Progress


@click.command("verify")
@click.argument("directory", type=Location())
@click.option(
    "--prove",
    is_flag=True,
    help="Also grade the evidence for every solution of an integral or a differential equation, and store it.",
)
@execution_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@external_task_option
@quiet_option
def verify(directory: str, prove: bool, workers: int | None, scheduler: str | None, as_json: bool) -> None:
    """Verify a dataset: checksums, columns, position and split of every row; recompute every solution.

    With --prove, every solution is verified like a prediction: proven, enclosed or only sampled. The counts enter the manifest.
    The command is resumable: shards whose evidence is stored are not verified again.

    Solutions that the verifier can neither confirm nor refute are listed apart: they are no damage.

    Exit code 0: complete, no solution wrong; 1: damaged, with a list of the damage; 2: verification was not possible, or for a
    task outside mathpipe that --task does not name, only that of checksums.

    \b
    Example:
      mathpipe verify data/inverse
      mathpipe verify data/integration-bwd --prove --workers 2
    """
    manifest = read_manifest(directory)
    rows = sum(split.rows for split in manifest.splits.values())
    with contextlib.closing(Progress("verify")) as progress:
        progress.start(rows)
        verification = verify_dataset(directory, workers, progress.add_shard, scheduler=scheduler, log=log)
    readable = verification.missing_task is None and all(d.concerns_solutions for d in verification.damage)
    evidence = _prove(directory, workers, scheduler) if prove and readable else None
    if as_json:
        click.echo(json.dumps(_as_json(directory, manifest, verification, evidence)))
    else:
        _print(directory, manifest, verification, evidence)
    if verification.damage or (evidence is not None and evidence.wrong):
        raise SystemExit(EXIT_DAMAGED)
    if verification.missing_task is not None:
        raise verification.missing_task


def _prove(directory: str, workers: int | None, scheduler: str | None) -> EvidenceReport:
    """Grade the evidence for every solution; on an interruption say how to resume."""
    try:
        with handle_sigterm(), contextlib.closing(Progress("prove")) as progress:
            return prove_dataset(directory, workers, progress.start, progress.advance, scheduler=scheduler, log=log)
    except KeyboardInterrupt as interrupt:
        warn(f"interrupted: the evidence for finished shards of {directory} is stored; run the same command to resume")
        raise SystemExit(143 if isinstance(interrupt, Terminated) else 130) from None


def _as_json(
    directory: str, manifest: Manifest, verification: VerificationReport, evidence: EvidenceReport | None
) -> dict[str, Any]:
    damage = _list(verification.damage)
    result: dict[str, Any] = {"directory": directory, "rows": verification.rows, "damage": damage}
    result["unconfirmed"] = _list(verification.unconfirmed)
    if evidence is not None:
        result["counts"] = [
            {"outcome": outcome, "evidence": grade, "rows": rows}
            for (outcome, grade), rows in sorted(evidence.counts.items())
        ]
        result["remarks"] = _list(evidence.remarks)
    if verification.missing_task is not None:
        result["unverified"] = str(verification.missing_task)
    return result | ({"next": manifest.repair_hint} if damage else {})


def _summary(rows: int, unconfirmed: int) -> str:
    if not unconfirmed:
        return f"correct, {counted(rows, 'answer')} recomputed"
    return (
        f"undamaged: {rows - unconfirmed:,} of {rows:,} answers correct, "
        f"{unconfirmed:,} not confirmed (no evidence for or against)"
    )


def _list(faults: tuple[Damage, ...]) -> list[dict[str, Any]]:
    return [
        {"file": d.file, "what": d.what, "kind": d.kind, "rows": list(d.rows)}
        | ({} if d.outcome is None else {"outcome": d.outcome})
        for d in faults
    ]


def _print(
    directory: str, manifest: Manifest, verification: VerificationReport, evidence: EvidenceReport | None
) -> None:
    for fault in (*verification.damage, *(() if evidence is not None else verification.unconfirmed)):
        click.echo(str(fault))
    if verification.damage:
        count = len(verification.damage)
        click.echo(f"{directory}: {counted(count, 'damaged place')}. Next: {manifest.repair_hint}.")
    elif verification.missing_task is not None:
        click.echo(f"{directory}: every file has its size and checksum; no answer was recomputed")
    else:
        unconfirmed = sum(len(d.rows) for d in verification.unconfirmed)
        click.echo(f"{directory}: complete and {_summary(verification.rows, unconfirmed)}")
    if evidence is None:
        return
    for remark in evidence.remarks:
        click.echo(str(remark))
    for (outcome, grade), rows in evidence.counts.most_common():
        click.echo(f"{rows:>12,}  {100 * rows / evidence.rows:6.2f} %  {outcome}, {grade}")
