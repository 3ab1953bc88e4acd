"""Rows of published tables as experiments of DVC: ``dvc exp run replicate/dvc.yaml``, whose stage runs one row.

The stages of the main ``dvc.yaml`` do not carry a table: they hold one dataset, one run and one evaluation of it, and move another
aside. A row has several evaluations, and rows share datasets. So the pipeline ``replicate/dvc.yaml`` has one stage, a whole row.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from mathpipe.datasets.errors import UserError
from mathpipe.pipeline.config.published_tables import Experiment, Size
from mathpipe.pipeline.console import handle_sigterm
from mathpipe.pipeline.published.records import file_name

PIPELINE = Path("replicate")


def has_pipeline() -> bool:
    """Whether this folder is a DVC repository with the pipeline of rows, and this process is not already its stage."""
    present = Path(".dvc").is_dir() and (PIPELINE / "dvc.yaml").exists()
    return present and "DVC_STAGE" not in os.environ and importlib.util.find_spec("dvc") is not None


def run_in_dvc(experiment: Experiment, size: Size, num_seeds: int) -> None:
    """Run a row as an experiment of DVC. UserError if it fails; an interruption stops DVC and the stage."""
    values = {"table": experiment.table, "row": experiment.name, "size": size, "seeds": num_seeds}
    (PIPELINE / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    name = f"{experiment.table}.{file_name(experiment.name)}.{size}.{num_seeds}"
    command = [sys.executable, "-m", "dvc", "exp", "run", "--force", "--name", name, str(PIPELINE / "dvc.yaml")]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with handle_sigterm():
        process = subprocess.Popen(command, env={**os.environ, "PATH": path}, start_new_session=True)
        try:
            code = process.wait()
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
    if code:
        raise UserError(
            f"DVC did not run {experiment.preset}",
            expected="exit code 0",
            got=f"exit code {code} of `dvc exp run`",
            next_step="see its messages above, or pass --no-dvc to run without DVC",
        )
