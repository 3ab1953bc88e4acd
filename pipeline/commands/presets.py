"""``mathpipe presets``: the named sets of parameters that come with mathpipe."""

from __future__ import annotations

import click
import yaml

from mathpipe.pipeline.config.resolution import preset_file, preset_names
from mathpipe.pipeline.config.schema import EvaluateParams


@click.command("presets")
@click.argument("name", required=False)
def presets(name: str | None) -> None:
    """List the presets, or print one, ready to be used as params.yaml.

    \b
    Example:
      mathpipe presets inverse-2x2 > params.yaml
    """
    if name is not None:
        click.echo(complete(preset_file(name).read_text()))
        return
    for known in preset_names():
        first = preset_file(known).read_text().splitlines()[0]
        click.echo(f"{known:<22}{first.lstrip('# ')}")


def complete(text: str) -> str:
    """A preset's own text, and the defaults of evaluation where it says nothing of them: DVC's stages ask for every section."""
    if "evaluate" in yaml.safe_load(text):
        return text.rstrip()
    defaults = {"evaluate": EvaluateParams().model_dump(mode="json")}
    return f"{text.rstrip()}\n{yaml.safe_dump(defaults, sort_keys=False).rstrip()}"
