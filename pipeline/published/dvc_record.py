"""Record a finished experiment in DVC: ``dvc exp show`` lists it with its parameters and results.

The stages of ``dvc.yaml`` hold one experiment in the workspace at a time, and one evaluation of it. The experiments of a table
share datasets, keep their runs and have several evaluations each. So they run in directories of their own, and DVCLive saves each
result as an experiment.
"""

from __future__ import annotations

from pathlib import Path

from mathpipe.pipeline.console import warn
from mathpipe.pipeline.published.records import Record, SeedResult, file_name
from mathpipe.train.run.metrics_log import live_class


def is_dvc_repository(folder: Path) -> bool:
    """Whether a folder lies in a DVC repository."""
    return any((parent / ".dvc").is_dir() for parent in (folder, *folder.parents))


def record_in_dvc(record: Record, result: SeedResult, directory: Path) -> str | None:
    """Save the result of one seed as a DVC experiment; its name. None outside a DVC repository, or without DVCLive."""
    live_type = live_class() if is_dvc_repository(Path.cwd().resolve()) else None
    if live_type is None:
        return None
    from dvc.exceptions import DvcException  # type: ignore[import-untyped]
    from scmrepo.exceptions import SCMError

    name = f"{record.table}.{file_name(record.row)}.{record.size}.seed-{result.seed}"
    try:
        with live_type(
            dir=str(directory / "dvc"), save_dvc_exp=True, exp_name=name, exp_message=record.command, report=None
        ) as live:
            live.log_params({"experiment": f"{record.table}/{record.row}", "size": record.size, **record.parameters})
            for evaluation, measured in result.measurements.items():
                if measured.value is not None:
                    live.log_metric(f"{record.measure} {evaluation}", measured.value, plot=False)
            live.log_metric("examples", result.examples, plot=False)
    except (DvcException, SCMError) as error:
        warn(f"DVC did not record {name}: {error}")
        return None
    return name
