"""The command ``mathpipe``: discrete stages, each one command."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from mathpipe.datasets.errors import UserError, nearest
from mathpipe.pipeline.console import USAGE, Terminated, hide_other_bars

# name -> (module, attribute, one line). Modules are imported when their command is called: `mathpipe tasks` needs no torch.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "tasks": ("mathpipe.pipeline.commands.tasks", "tasks", "List every task: problem, solution, parameters, source."),
    "generate": (
        "mathpipe.pipeline.commands.generate",
        "generate",
        "Generate problems with verified answers into Parquet.",
    ),
    "show": ("mathpipe.pipeline.commands.show", "show", "Show a dataset: its spec, its sizes, a few problems drawn."),
    "verify": ("mathpipe.pipeline.commands.verify", "verify", "Check a dataset: every file and every answer."),
    "train": ("mathpipe.pipeline.commands.train", "train", "Train a transformer on a dataset."),
    "eval": (
        "mathpipe.pipeline.commands.eval",
        "evaluate",
        "Examine a trained model: how often it is right, and where not.",
    ),
    "report": (
        "mathpipe.pipeline.commands.report",
        "report",
        "A page to read of an evaluation, or of several side by side.",
    ),
    "failures": (
        "mathpipe.pipeline.commands.failures",
        "failures",
        "Look through failed problems; read published dumps.",
    ),
    "presets": ("mathpipe.pipeline.commands.presets", "presets", "List the named sets of parameters."),
    "bench": (
        "mathpipe.pipeline.commands.bench",
        "bench",
        "Measure this machine, and what an order of rows will take.",
    ),
    "import": ("mathpipe.pipeline.commands.import_", "import_files", "Read published data files into a dataset."),
    "import-model": (
        "mathpipe.pipeline.commands.import_model",
        "import_model",
        "Fetch a pretrained body into a directory, checked and recorded.",
    ),
    "dedupe": ("mathpipe.pipeline.commands.dedupe", "dedupe", "Keep the first of equal problems, as a new dataset."),
    "export": (
        "mathpipe.pipeline.commands.export",
        "export",
        "Write a dataset as the papers' text lines or as Arrow IPC.",
    ),
}


class Stages(click.Group):
    """Commands in the order of the line, imported on demand; an unknown one is answered with the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = nearest(args[0], COMMANDS)
            raise UserError(
                f"unknown command {args[0]!r}",
                expected=f"one of {', '.join(COMMANDS)}",
                got=repr(args[0]),
                next_step=f"did you mean {near}?" if near else "`mathpipe --help`",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=Stages, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="mathpipe", prog_name="mathpipe")
def cli() -> None:
    """Very large, verified, reproducible datasets of mathematical problems; transformers trained on them; and where they fail.

    \b
    Example:
      mathpipe generate --task add --dim 3 --n 200k
      mathpipe train --data data/add
      mathpipe eval --verbose
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command; a ``UserError`` or a usage error is one line on stderr and exit code 2, never a traceback."""
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # before torch: idle threads that spin cost 4 times the CPU here
    if not sys.stderr.isatty():
        hide_other_bars()
    try:
        status = cli.main(args=args, prog_name="mathpipe", standalone_mode=False)
    except UserError as error:
        _fail(str(error))
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.UsageError as error:
        _fail(f"{error.format_message()} Next: `{error.ctx.command_path if error.ctx else 'mathpipe'} --help`.")
    except click.ClickException as error:
        _fail(error.format_message())
    except (KeyboardInterrupt, click.Abort) as stop:
        click.echo("stopped", err=True)
        sys.exit(143 if isinstance(stop, Terminated) else 130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away: nothing more to say
        sys.exit(0)
    except OSError as error:
        _fail(f"{error.filename or 'the file system'}: {error.strerror or error}.")
    else:
        sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> None:
    click.echo(f"mathpipe: {message}", err=True)
    sys.exit(USAGE)


if __name__ == "__main__":
    main()
