"""How many local workers fit into the memory, and how much each of them may take."""

from __future__ import annotations

from collections.abc import Callable

from mathpipe.datasets.resources.cpus import available_cpus
from mathpipe.datasets.resources.memory_limit import available_memory

# Peaks of a worker: 205 MB for integrals, 268 MB for inverses and 293 MB for SVDs of 10x10; the parent took 144 MB (AMD EPYC).
WORKER_BYTES, PARENT_BYTES = 400 * 10**6, 300 * 10**6


def workers_that_fit(memory: int | None = None, cpus: int | None = None) -> int:
    """The number of local workers by default: one per available CPU, or fewer where memory is short; at least 1.

    ``memory``: available bytes. ``OMP_NUM_THREADS`` is about the threads of one process: each worker has a single one.
    """
    memory = available_memory() if memory is None else memory
    return max(1, min(cpus or available_cpus(), (memory - PARENT_BYTES) // WORKER_BYTES))


def bytes_per_worker(workers: int) -> int:
    """The memory beyond which a worker is stopped and started again: an equal share of what is available."""
    return max((available_memory() - PARENT_BYTES) // workers, WORKER_BYTES)


def log_little_memory(workers: int, by_default: bool, log: Callable[[str], None]) -> None:
    """Say so if memory is why there are fewer workers than CPUs, or if the number that the user chose may not fit."""
    available = available_memory()
    fitting, memory = workers_that_fit(available), f"{available / 1e9:.1f} GB of memory are available"
    if by_default and workers == fitting < available_cpus():
        log(f"{workers} workers for {available_cpus()} CPUs, because {memory}")
    elif not by_default and workers > 1 and workers * WORKER_BYTES + PARENT_BYTES > available:
        log(f"{workers} workers may need more: {memory}; if workers die, use --workers {fitting}")
