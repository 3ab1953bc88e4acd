"""DVCLive, wherever it is installed: metrics and plots as files below the run directory, for ``dvc metrics`` and ``dvc plots``."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class DvcLive:
    """A DVCLive writer. It receives all points again when a run resumes, since its files hold no position."""

    logged_step = 0

    def __init__(self, live: Any) -> None:
        self._live = live

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._live.step = step
        for name, value in values.items():
            self._live.log_metric(name, value)
        self._live.make_summary()

    def finish(self, failed: bool) -> None:
        self._live.end()


def live_class() -> Any:
    """The class ``Live`` of DVCLive, or None where DVCLive is not installed. Slow at the first call: it imports DVC."""
    try:
        from dvclive.live import Live
    except ModuleNotFoundError:
        return None
    return Live


def open_dvclive(directory: Path) -> DvcLive | None:
    """DVCLive as a writer of metrics and plots only, without experiments and dvc.yaml; None where it is not installed.

    In a Git repository without DVC, DVCLive would initialise DVC and stage its files; the subclass prevents this.
    """
    live = live_class()
    if live is None:
        return None
    from scmrepo.exceptions import SCMError  # a dependency of DVCLive

    class Offline(live):  # type: ignore[misc, valid-type]
        def _init_dvc(self) -> None:
            pass

    here = Path.cwd().resolve()
    within_dvc = any((parent / ".dvc").is_dir() for parent in (here, *here.parents))
    settings: dict[str, Any] = {"dir": str(directory), "save_dvc_exp": False, "dvcyaml": None, "report": None}
    if within_dvc:
        with contextlib.suppress(SCMError):  # a Git repository without a commit
            return DvcLive(live(**settings))
    return DvcLive(Offline(**settings))
