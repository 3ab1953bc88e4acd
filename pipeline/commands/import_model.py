"""``mathpipe import-model``: a pretrained body into a directory, checked and recorded."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.command("import-model")
@click.argument("name")
@click.option("--out", default=None, help="Directory of the body.  [default: models/<name>]")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
def import_model(name: str, out: str | None, as_json: bool) -> None:
    """Fetch a pretrained body (a directory, or a name on Hugging Face's hub), read it once, and record what it is.

    \b
    Example:
      mathpipe import-model gpt2
      mathpipe import-model facebook/mbart-large-cc25 --out models/mbart
      mathpipe train --data data/xor --preset frozen/xor-5 -S body.weights=models/gpt2
    """
    try:
        from mathpipe.train.backbones.backbone_files import import_body
    except ImportError as error:
        from mathpipe.train.model.interface import without_transformers

        raise without_transformers(error) from error
    out = out or f"models/{name.rstrip('/').rsplit('/', 1)[-1]}"
    record = import_body(name, out)
    if as_json:
        click.echo(json.dumps({"out": out, **asdict(record)}))
        return
    shape = ", ".join(f"{key} {value}" for key, value in record.shape.items())
    click.echo(f"{out}: {record.kind}, {record.parameters:,} parameters, {shape}, digest {record.digest[:16]}")
    click.echo(f"use it with -S body.model={record.model} -S body.weights={out}")
