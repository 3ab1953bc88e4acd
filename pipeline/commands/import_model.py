"""``mathpipe import-model``: download, check and record a pretrained model."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.command("import-model")
@click.argument("name")
@click.option("--out", default=None, help="Directory for the model.  [default: models/<name>]")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
def import_model(name: str, out: str | None, as_json: bool) -> None:
    """Import a pretrained model from a directory or the Hugging Face hub, check that it loads, and record its properties.

    \b
    Example:
      mathpipe import-model gpt2
      mathpipe import-model facebook/mbart-large-cc25 --out models/mbart
      mathpipe train --data data/xor --preset frozen/xor-5 -S backbone.weights=models/gpt2
    """
    try:
        from mathpipe.train.backbones.backbone_files import import_backbone
    except ImportError as error:
        from mathpipe.train.model.interface import missing_transformers

        raise missing_transformers(error) from error
    out = out or f"models/{name.rstrip('/').rsplit('/', 1)[-1]}"
    record = import_backbone(name, out)
    if as_json:
        click.echo(json.dumps({"out": out, **asdict(record)}))
        return
    shape = ", ".join(f"{key} {value}" for key, value in record.shape.items())
    click.echo(f"{out}: {record.kind}, {record.parameters:,} parameters, {shape}, digest {record.digest[:16]}")
    click.echo(f"use it with -S backbone.model={record.model} -S backbone.weights={out}")
