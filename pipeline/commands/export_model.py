"""``mathpipe export-model``: a trained model for others, in safetensors with JSON and a model card."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mathpipe.pipeline.config.options import external_task_option
from mathpipe.pipeline.config.path_types import LocalPath
from mathpipe.train.run.run_record import read_record


@click.command("export-model")
@click.argument("run", type=LocalPath(path_type=Path))
@click.option(
    "--out", type=LocalPath(path_type=Path), default=None, help="Directory to write.  [default: models/<name of RUN>]"
)
@click.option(
    "--checkpoint", default="last", show_default=True, help="last, best, or a file in the directory of the run."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@external_task_option
def export_model(run: Path, out: Path | None, checkpoint: str, as_json: bool) -> None:
    """Write the model of a run as safetensors, with its configuration in JSON and a model card.

    The card lists the evaluations that the run holds. `mathpipe import-model` reads the directory back, with equal logits.

    \b
    Example:
      mathpipe export-model runs/inverse --out models/inverse
      mathpipe import-model models/inverse --out runs/inverse-copy
    """
    out = out or Path("models") / run.absolute().name
    read_record(run)  # a misspelt run is an error before torch is imported
    from mathpipe.pipeline.models.model_card import model_card
    from mathpipe.train.published.exported_model import CARD, CONFIG, WEIGHTS, write_exported
    from mathpipe.train.run.checkpoint import load_model

    model, record = load_model(run, name=checkpoint)
    parameters = write_exported(model, record, out, model_card(run, record))
    if as_json:
        click.echo(json.dumps({"out": str(out), "parameters": parameters, "step": record.step}))
        return
    click.echo(f"{out}: {parameters:,} parameters of {record.task}, with {WEIGHTS}, {CONFIG} and {CARD}")
