"""``mathpipe doctor``: check this installation and machine."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import Literal

import click

from mathpipe.datasets.resources.cpus import available_cpus
from mathpipe.datasets.resources.memory_limit import memory_limit
from mathpipe.generate.execution.worker_memory import workers_that_fit
from mathpipe.pipeline.code_version import version_text
from mathpipe.pipeline.console import EXIT_DAMAGED
from mathpipe.pipeline.machine import find_tools, free_disk, missing, requirements

Status = Literal["ok", "missing", "problem"]
_LIBRARIES = ("torch", "numpy", "pyarrow", "sympy", "symengine", "python-flint", "scipy", "dask", "pydantic")
_TOOLS = {  # command -> what needs it, and how to get it
    "git": ("commits in results, DVC", "install Git, such as `apt-get install git`"),
    "dvc": ("`dvc repro` and experiments", "`pip install 'mathpipe[dvc]'`"),
    "java": ("reading datasets with Spark, which mathpipe itself never does", "such as `apt-get install default-jre`"),
}
_DEVELOPMENT = ("test", "dev", "docs", "all")  # extras of which a user of mathpipe need not hear
_LEAST_MEMORY, _LEAST_DISK = 2e9, 1e9


@dataclass(frozen=True)
class Check:
    """One line of the diagnosis. ``missing``: an optional part; ``problem``: something that must be repaired. ``hint``: how."""

    name: str
    value: str
    status: Status = "ok"
    hint: str = ""


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def doctor(as_json: bool) -> int:
    """Check this installation and machine: versions, device, arithmetic, threads, memory, disk, tools, extras.

    What is missing is named with the way to get it. Exit code 0: everything that mathpipe needs is there; 1: there is a problem.

    \b
    Example:
      mathpipe doctor
      mathpipe doctor --json
    """
    checks = [*_versions(), *_torch(), *_machine(), *_tools(), *_extras()]
    problems = [check for check in checks if check.status == "problem"]
    if as_json:
        click.echo(json.dumps({"healthy": not problems, "checks": [asdict(check) for check in checks]}))
    else:
        for check in checks:
            mark = {"ok": "", "missing": " (optional)", "problem": " PROBLEM"}[check.status]
            click.echo(f"{check.name:<14}{check.value}{mark}{f'; {check.hint}' if check.hint else ''}")
        click.echo("\nno problems" if not problems else f"\nproblems: {', '.join(check.name for check in problems)}")
    return EXIT_DAMAGED if problems else 0


def _versions() -> Iterator[Check]:
    yield Check("mathpipe", version_text())
    yield Check("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    lacking = list(missing(requirements()))
    yield Check(
        "libraries",
        ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES),
        "problem" if lacking else "ok",
        f"not installed as required: {', '.join(lacking)}; `pip install --upgrade mathpipe`" if lacking else "",
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _torch() -> Iterator[Check]:
    """Device, arithmetic and threads, as training chooses them."""
    try:
        import torch

        from mathpipe.train.runtime.fast_paths import fast_paths
        from mathpipe.train.runtime.threads import CHOSEN_BY, limit_threads
    except (ImportError, OSError) as error:
        yield Check("device", f"torch cannot be imported: {error}", "problem", "`pip install --force-reinstall torch`")
        return
    has_cuda = torch.cuda.is_available()
    paths = fast_paths("cuda" if has_cuda else "cpu")
    count = torch.cuda.device_count()
    device = f"{count} x {torch.cuda.get_device_name()}" if has_cuda else f"CPU, {_processor()}"
    yield Check("device", device, hint="" if has_cuda or not _has_nvidia() else _CUDA_HINT)
    yield Check("arithmetic", f"matrix products in {str(paths.products).removeprefix('torch.')} ({paths.reason})")
    before = torch.get_num_threads()
    limit_threads()
    threads = torch.get_num_threads()
    chosen_by = [name for name in CHOSEN_BY if os.environ.get(name)] or ["torch" if threads == before else "the CPUs"]
    yield Check("threads", f"{threads}, chosen by {chosen_by[0]}")


_CUDA_HINT = "there is an NVIDIA driver, but this torch cannot use it: install the CUDA build of torch"


def _has_nvidia() -> bool:
    return Path("/proc/driver/nvidia/version").exists()


def _processor() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _machine() -> Iterator[Check]:
    cpus, present = available_cpus(), os.cpu_count() or 1
    quota = "" if cpus >= present else f" of {present}: affinity or the quota of the control group"
    yield Check("CPUs", f"{cpus}{quota}")
    memory = memory_limit()
    status: Status = "problem" if memory.available < _LEAST_MEMORY else "ok"
    hint = "" if status == "ok" else "training needs about 2 GB: end other programs, or raise the limit"
    group = ", the limit of the control group" if memory.from_group else ""
    text = f"{memory.available / 1e9:,.1f} GB available of {memory.limit / 1e9:,.1f} GB{group}"
    yield Check("memory", text, status, hint)
    workers = workers_that_fit(memory.available, cpus)
    reason = "" if workers == cpus else f", {cpus} CPUs: as many as fit into the memory"
    yield Check("workers", f"{workers} by default{reason}")
    for name, path in {"disk": str(Path.cwd()), "disk (temp)": tempfile.gettempdir()}.items():
        free = free_disk(path)
        status = "problem" if free < _LEAST_DISK else "ok"
        hint = "" if status == "ok" else "less than 1 GB: datasets and checkpoints need more"
        yield Check(name, f"{free / 1e9:,.1f} GB free at {path}", status, hint)


def _tools() -> Iterator[Check]:
    for name, path in find_tools(list(_TOOLS)).items():
        purpose, way = _TOOLS[name]
        yield Check(name, path) if path else Check(name, f"not there; needed for {purpose}", "missing", way)


def _extras() -> Iterator[Check]:
    """Each extra of the installed package: complete, or what it lacks."""
    for extra in metadata("mathpipe").get_all("Provides-Extra") or ():
        if extra in _DEVELOPMENT:
            continue
        lacking = list(missing(requirements(extra)))
        if lacking:
            yield Check(f"[{extra}]", f"lacks {', '.join(lacking)}", "missing", f"`pip install 'mathpipe[{extra}]'`")
        else:
            yield Check(f"[{extra}]", "installed")
