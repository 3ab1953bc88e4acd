"""Optional dependencies: a missing package becomes a UserError that names the extra to install."""

from __future__ import annotations

from collections.abc import Iterator

from mathpipe.datasets.errors import UserError

EXTRAS = {"dvc": "dvc", "dvclive": "dvc", "pandas": "dedupe", "huggingface_hub": "hub"}  # package -> extra of mathpipe


def missing_extra(error: ImportError) -> UserError | None:
    """The UserError for a failed import of an optional package, or None for any other package."""
    for cause in _chain(error):
        package = cause.name.split(".")[0] if isinstance(cause, ModuleNotFoundError) and cause.name else None
        if package in EXTRAS:
            return _not_installed(package, "this command")
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes: dask.dataframe replaces the error of a missing pandas by its own."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _not_installed(package: str, purpose: str) -> UserError:
    extra = EXTRAS[package]
    return UserError(
        f"{purpose} needs {package}, which is not installed",
        expected=f"mathpipe with the extra {extra!r}",
        got="an installation without it",
        next_step=f"`pip install 'mathpipe[{extra}]'`",
    )
