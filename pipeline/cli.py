"""The ``mathpipe`` command: one subcommand for each stage and tool."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.datasets.io.store_errors import user_error_of
from mathpipe.pipeline.console import EXIT_USAGE, Terminated, hide_library_progress_bars
from mathpipe.pipeline.extras import missing_extra
from mathpipe.pipeline.terminal import tolerate_encodings

# name -> (module, attribute, short help). Modules are imported when their command runs: `mathpipe tasks` needs no torch.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "tasks": ("mathpipe.pipeline.commands.tasks", "tasks", "List the tasks: problem, solution, parameters, source."),
    "generate": (
        "mathpipe.pipeline.commands.generate",
        "generate",
        "Generate a dataset of problems with verified solutions.",
    ),
    "show": ("mathpipe.pipeline.commands.show", "show", "Show a dataset: its spec, its sizes and a few examples."),
    "verify": ("mathpipe.pipeline.commands.verify", "verify", "Verify a dataset: every file and every solution."),
    "train": ("mathpipe.pipeline.commands.train", "train", "Train a transformer on a dataset."),
    "eval": (
        "mathpipe.pipeline.commands.eval",
        "evaluate",
        "Evaluate a trained model: accuracy, and where it fails.",
    ),
    "report": (
        "mathpipe.pipeline.commands.report",
        "report",
        "Write an HTML report of one evaluation, or compare several.",
    ),
    "serve": ("mathpipe.pipeline.commands.serve", "serve", "Show runs on a local page that follows a training."),
    "failures": (
        "mathpipe.pipeline.commands.failures",
        "failures",
        "Browse failed problems; import published failure files.",
    ),
    "score": ("mathpipe.pipeline.commands.score", "score", "Verify answers that any model wrote."),
    "solve": (
        "mathpipe.pipeline.commands.solve",
        "solve",
        "Ask a trained model one problem, and verify its hypotheses.",
    ),
    "harvest": (
        "mathpipe.pipeline.commands.harvest",
        "harvest",
        "Write the right answers of evaluations as a dataset.",
    ),
    "presets": ("mathpipe.pipeline.commands.presets", "presets", "List the parameter presets, or print one."),
    "replicate": (
        "mathpipe.pipeline.commands.replicate",
        "replicate",
        "Run experiments of a published table; note ours beside the published figures.",
    ),
    "doctor": (
        "mathpipe.pipeline.commands.doctor",
        "doctor",
        "Check this installation and machine; name what is missing.",
    ),
    "bench": (
        "mathpipe.pipeline.commands.bench",
        "bench",
        "Measure this machine; estimate time and size of a dataset.",
    ),
    "import": ("mathpipe.pipeline.commands.import_", "import_files", "Import published data files as a dataset."),
    "import-model": (
        "mathpipe.pipeline.commands.import_model",
        "import_model",
        "Import a published, exported or pretrained model.",
    ),
    "export-model": (
        "mathpipe.pipeline.commands.export_model",
        "export_model",
        "Write a trained model as safetensors, with a model card.",
    ),
    "dedupe": ("mathpipe.pipeline.commands.dedupe", "dedupe", "Write a copy of a dataset without duplicate problems."),
    "export": (
        "mathpipe.pipeline.commands.export",
        "export",
        "Export a split as text (the papers' format) or Arrow IPC.",
    ),
    "push": ("mathpipe.pipeline.commands.push", "push", "Upload a dataset to the Hugging Face hub."),
    "pull": ("mathpipe.pipeline.commands.pull", "pull", "Download a dataset from the Hugging Face hub."),
}


class LazyGroup(click.Group):
    """Subcommands in pipeline order, imported on demand; for an unknown name the error suggests the nearest one."""

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
            raise UserError(
                f"unknown command {args[0]!r}",
                expected=f"one of {', '.join(COMMANDS)}",
                got=repr(args[0]),
                next_step=did_you_mean(args[0], COMMANDS) or "see `mathpipe --help`",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, short_help) for name, (_, _, short_help) in COMMANDS.items()])


def _print_version(context: click.Context, option: click.Parameter, requested: bool) -> None:
    if requested:
        from mathpipe.pipeline.code_version import version_text

        click.echo(f"mathpipe {version_text()}")
        context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show version and commit.",
)
def cli() -> None:
    """Generate verified, reproducible datasets of mathematical problems, train transformers on them, and analyse where they fail.

    Every command is resumable: run it again after an interruption.

    \b
    Example:
      mathpipe generate --task add --dim 3 --n 200k
      mathpipe train --data data/add
      mathpipe eval --verbose
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command. A ``UserError`` or a usage error prints one line to stderr and exits with code 2, without a traceback."""
    # Must be set before torch is imported: spinning idle threads cost 4 times the CPU time here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Spin for some microseconds first: sleeping at once costs a switch at each of the many short parallel regions of a step.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    tolerate_encodings()
    if not sys.stderr.isatty():
        hide_library_progress_bars()
    try:
        status = cli.main(args=args, prog_name="mathpipe", standalone_mode=False)
    except UserError as error:
        _fail(str(error))
    except ImportError as error:
        user_error = missing_extra(error)
        if user_error is None:
            raise
        _fail(str(user_error))
    except click.exceptions.Exit as exit_request:
        sys.exit(exit_request.exit_code)
    except click.NoSuchOption as error:
        _fail(_describe_unknown_option(error))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(EXIT_USAGE)
    except click.UsageError as error:
        message, path = error.format_message(), error.ctx.command_path if error.ctx else "mathpipe"
        stop = "" if message.endswith((".", "?")) else "."
        _fail(f"{message}{stop} Next: `{path} --help`.")
    except click.ClickException as error:
        _fail(error.format_message())
    except (KeyboardInterrupt, click.Abort) as interrupt:
        click.echo("stopped", err=True)
        sys.exit(143 if isinstance(interrupt, Terminated) else 130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of stdout has closed the pipe
        sys.exit(0)
    except OSError as error:
        _fail(str(user_error_of(error)))
    else:
        sys.exit(status if isinstance(status, int) else 0)


def _describe_unknown_option(error: click.NoSuchOption) -> str:
    """What an unknown option should have been: a parameter is set with ``-S``, where the command takes that."""
    command = error.ctx.command if error.ctx is not None else cli
    path = error.ctx.command_path if error.ctx is not None else "mathpipe"
    short = error.option_name.removeprefix("-")  # --k for -k
    if error.option_name.startswith("--") and any(short in parameter.opts for parameter in command.params):
        return f"no such option: {error.option_name}. Next: did you mean {short}?"
    if any("-S" in parameter.opts for parameter in command.params):
        key = error.option_name.lstrip("-").replace("-", "_")
        return f"no such option: {error.option_name}. Next: a parameter is set with `-S {key}=VALUE`; `{path} --help`."
    return f"{error.format_message()} Next: `{path} --help`."


def _fail(message: str) -> None:
    click.echo(f"mathpipe: {message}", err=True)
    sys.exit(EXIT_USAGE)


if __name__ == "__main__":
    main()
