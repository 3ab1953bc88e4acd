"""``mathpipe presets``: list or print the parameter presets."""

from __future__ import annotations

import click
import yaml

from mathpipe.pipeline.config.resolution import preset_file, preset_names
from mathpipe.pipeline.config.stage_parameters import EvaluateParams


@click.command("presets")
@click.argument("name", required=False)
def presets(name: str | None) -> None:
    """List the presets, or print one for use as params.yaml.

    \b
    Example:
      mathpipe presets inverse-2x2 > params.yaml
    """
    if name is not None:
        click.echo(with_evaluation_defaults(preset_file(name).read_text()))
        return
    for preset in preset_names():
        title = preset_file(preset).read_text().splitlines()[0]
        click.echo(f"{preset:<22}{title.lstrip('# ').removesuffix('; changes:')}")


def with_evaluation_defaults(text: str) -> str:
    """The text of a preset, with the default section ``evaluate`` if it has none: DVC's stages need every section."""
    if "evaluate" in yaml.safe_load(text):
        return text.rstrip()
    defaults = {"evaluate": EvaluateParams().model_dump(mode="json")}
    return f"{text.rstrip()}\n{yaml.safe_dump(defaults, sort_keys=False).rstrip()}"
