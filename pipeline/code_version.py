"""Which code this is: the version of the installation, and the commit."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("datasets", "evaluate", "generate", "pipeline", "train")


def version_text() -> str:
    """``0.1.1.dev457 (commit 9d67aa3b52-dirty)``; without the commit where it is not known."""
    current = commit()
    return version("mathpipe").partition("+")[0] + (f" (commit {current})" if current else "")


def commit() -> str | None:
    """The commit of the checkout, else the one that the installation was built from; None if neither is known.

    ``-dirty`` follows if a file of the packages differs from it.
    """
    source = Path(__file__).resolve().parents[1]
    if (source / ".git").exists() and (source / "pyproject.toml").exists():
        return _commit_of_checkout(source)
    built = re.search(r"\+g([0-9a-f]+)", version("mathpipe"))
    return (built[1] if built else None) or _commit_of_build()


def _commit_of_build() -> str | None:
    """The commit that setuptools-scm wrote into ``mathpipe/_version.py``."""
    try:
        build = importlib.import_module("mathpipe._version")
    except ImportError:
        return None
    identifier = getattr(build, "__commit_id__", None)
    return str(identifier).removeprefix("g") if identifier else None


def _commit_of_checkout(source: Path) -> str | None:
    git = ["git", "-C", os.fspath(source)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], check=True, capture_output=True, text=True)
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *_PACKAGES], check=False, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("-dirty" if changed.returncode else "")
