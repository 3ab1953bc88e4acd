"""``mathpipe presets``: the named sets of parameters that come with mathpipe."""

from __future__ import annotations

import click

from mathpipe.pipeline.params import preset_file, preset_names


@click.command("presets")
@click.argument("name", required=False)
def presets(name: str | None) -> None:
    """List the presets, or print one, ready to be used as params.yaml.

    \b
    Example:
      mathpipe presets inverse-2x2 > params.yaml
    """
    if name is not None:
        click.echo(preset_file(name).read_text().rstrip())
        return
    for known in preset_names():
        first = preset_file(known).read_text().splitlines()[0]
        click.echo(f"{known:<22}{first.lstrip('# ')}")
