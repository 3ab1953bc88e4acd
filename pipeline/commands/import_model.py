"""``mathpipe import-model``: a published checkpoint or an exported model as a run, or a pretrained backbone as a directory."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.locations import last_name
from mathpipe.pipeline.config.counts import CountRange
from mathpipe.pipeline.config.options import Choice
from mathpipe.pipeline.config.path_types import LocalPath, Location, ModelSource
from mathpipe.pipeline.console import log
from mathpipe.train.run.run_record import PARAMS

if TYPE_CHECKING:
    from mathpipe.pipeline.models.model_import import ImportedRun

_ENDINGS = (".pth", ".pt", ".bin", ".ckpt")
Heads = CountRange(1, 128)


@click.command("import-model")
@click.argument("name", type=ModelSource(), metavar="FILE|DIR|NAME")
@click.option(
    "--out",
    type=LocalPath(),
    default=None,
    help="Directory to write.  [default: runs/<name>; models/<name> for a backbone]",
)
@click.option("--task", default=None, help="Task of a checkpoint.  [default: as the file says]")
@click.option("--data", type=Location(), default=None, help="Dataset that the run is evaluated on by default.")
@click.option("--input-encoding", default=None, help="Encoding of problems, such as FP15.  [default: as the file says]")
@click.option(
    "--output-encoding", default=None, help="Encoding of solutions, such as P1000.  [default: as the file says]"
)
@click.option(
    "--encoder-heads", type=Heads, default=None, help="Attention heads of the encoder.  [default: as the file says]"
)
@click.option(
    "--decoder-heads", type=Heads, default=None, help="Attention heads of the decoder.  [default: as the file says]"
)
@click.option(
    "--cross-query",
    type=Choice(("input", "attended")),
    default=None,
    help="Queries of cross-attention.  [default: input for LAWT and Int2Int, attended for SymbolicMathematics]",
)
@click.option(
    "--vocabulary",
    type=LocalPath(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="File with one token a line, in the order of their ids.  [default: the published vocabulary of this size]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
def import_model(name: str, out: str | None, as_json: bool, **options: Any) -> None:
    """Import a model: a checkpoint of LAWT, SymbolicMathematics or Int2Int, what `mathpipe export-model` wrote, or a backbone.

    A checkpoint becomes a run, with which eval, solve and report work. No code in the file is run. A backbone (a directory in
    Hugging Face format, or a model name on the hub) is checked and recorded.

    \b
    Example:
      mathpipe import-model eigenvalues.pth --out runs/eigenvalues-published
      mathpipe eval --run runs/eigenvalues-published --data data/eigenvalues
      mathpipe import-model models/inverse --out runs/inverse
      mathpipe import-model gpt2
      mathpipe train --data data/xor --preset frozen/xor-5 -S backbone.weights=models/gpt2
    """
    path = Path(name)
    if path.suffix in _ENDINGS and not path.is_file():
        raise UserError(f"there is no file {name}", expected="a checkpoint, a directory, or a model name on the hub")
    # imports torch: --help and a misspelt file do without
    from mathpipe.pipeline.models.model_import import ImportOptions, import_checkpoint, import_exported
    from mathpipe.train.published.exported_model import is_exported

    choices = ImportOptions(**options)
    if path.is_file():
        _print_run(import_checkpoint(path, Path(out or f"runs/{path.stem}"), choices), as_json)
        return
    _reject_options(name, {**options, "data": None} if is_exported(path) else options)
    if is_exported(path):
        _print_run(import_exported(path, Path(out or f"runs/{path.absolute().name}"), choices.data), as_json)
        return
    _import_backbone(name, out or f"models/{last_name(name)}", as_json)


def _reject_options(name: str, options: dict[str, Any]) -> None:
    """UserError for options that only a checkpoint takes."""
    given_options = [f"--{option.replace('_', '-')}" for option, value in options.items() if value is not None]
    if given_options:
        raise UserError(
            f"{', '.join(given_options)}: {name} says this itself",
            expected="these options with a checkpoint of LAWT, SymbolicMathematics or Int2Int",
            next_step="leave them out",
        )


def _print_run(run: ImportedRun, as_json: bool) -> None:
    record, model = run.record, run.record.config.model
    for note in run.notes:
        log(note)
    if as_json:
        click.echo(json.dumps({"out": str(run.directory), "parameters": run.parameters, **record.to_dict()}))
        return
    sizes = " and ".join(
        f"{layers} layers of width {width}, {heads} heads"
        for layers, width, heads in (
            (model.encoder_layers, model.encoder_width, model.encoder_heads),
            (model.decoder_layers, model.decoder_width, model.decoder_heads),
        )
    )
    click.echo(
        f"{run.directory}: {record.task}, {record.input_encoding} to {record.output_encoding}, from {record.imported_from}"
    )
    click.echo(f"{run.parameters:,} parameters; encoder and decoder: {sizes}")
    click.echo(f"evaluate it with `mathpipe eval --run {run.directory}{'' if record.data else ' --data DIR'}`")
    click.echo(f"train it further with `mathpipe train --data DIR --run DIR --params {run.directory / PARAMS}`")


def _import_backbone(name: str, out: str, as_json: bool) -> None:
    try:
        from mathpipe.train.backbones.backbone_files import import_backbone
    except ImportError as error:
        from mathpipe.train.model.interface import missing_transformers

        raise missing_transformers(error) from error
    record = import_backbone(name, out)
    if as_json:
        click.echo(json.dumps({"out": out, **asdict(record)}))
        return
    shape = ", ".join(f"{key} {value}" for key, value in record.shape.items())
    click.echo(f"{out}: {record.kind}, {record.parameters:,} parameters, {shape}, digest {record.digest[:16]}")
    click.echo(f"use it with -S backbone.model={record.model} -S backbone.weights={out}")
