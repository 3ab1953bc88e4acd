"""The provenance of a dataset: if it is equal, the same spec gives the same bytes."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

from threadpoolctl import threadpool_info

from mathpipe.generate.dataset_spec import GENERATOR_VERSION


@cache
def library_versions() -> dict[str, str]:
    """The versions that all workers must share, since bytes may differ between versions."""
    return {name: version(name) for name in ("mathpipe", "numpy", "pyarrow")} | {"generator": str(GENERATOR_VERSION)}


@cache
def blas_kernels() -> str:
    """The BLAS of NumPy in this process and the CPU kernels it chose."""
    pools = [p for p in threadpool_info() if p["user_api"] == "blas" and "numpy" in p["filepath"]]
    kernels = [f"{p['internal_api']} {p['version']} {p.get('architecture', '')}".strip() for p in pools]
    return "; ".join(kernels) or "unknown"


def collect_provenance(kernels: set[str] | None = None) -> dict[str, str]:
    """Versions and CPU kernels for the manifest; ``kernels``: those of the workers, if other processes did the work."""
    libraries = {name: library_versions()[name] for name in ("mathpipe", "numpy", "pyarrow")}
    return {
        **libraries,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "blas": " | ".join(sorted(kernels or {blas_kernels()})),
    }
