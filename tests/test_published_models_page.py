"""Every command of docs/guides/published-models.md names options that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from mathpipe.pipeline.cli import cli

PAGE = (Path(__file__).parent.parent / "docs" / "guides" / "published-models.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S) for line in block.splitlines()]


def test_page_has_commands() -> None:
    assert {shlex.split(command)[1] for command in COMMANDS} >= {
        "import-model",
        "export-model",
        "eval",
        "train",
        "solve",
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    program, name, *arguments = shlex.split(command, comments=True)
    assert program == "mathpipe"
    with click.Context(cli) as context:
        subcommand = cli.get_command(context, name)
        assert subcommand is not None
        subcommand.make_context(name, arguments, parent=context)
