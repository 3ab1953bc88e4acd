"""What made a dataset: with these equal, the same spec gives the same bytes."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

from threadpoolctl import threadpool_info

from mathpipe.generate.spec import GENERATOR_VERSION


@cache
def byte_versions() -> dict[str, str]:
    """What every worker must have in common, since bytes may differ between versions."""
    return {name: version(name) for name in ("mathpipe", "numpy", "pyarrow")} | {"generator": str(GENERATOR_VERSION)}


@cache
def blas_kernels() -> str:
    """The BLAS of NumPy in this process and the CPU kernels it chose."""
    pools = [p for p in threadpool_info() if p["user_api"] == "blas" and "numpy" in p["filepath"]]
    found = [f"{p['internal_api']} {p['version']} {p.get('architecture', '')}".strip() for p in pools]
    return "; ".join(found) or "unknown"


def collect_provenance(kernels: set[str] | None = None) -> dict[str, str]:
    """Versions and CPU kernels for the manifest; ``kernels`` are those of the workers, where they are not this process's."""
    libraries = {name: byte_versions()[name] for name in ("mathpipe", "numpy", "pyarrow")}
    return {
        **libraries,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "blas": " | ".join(sorted(kernels or {blas_kernels()})),
    }
