"""CPU threads of torch: no more than the CPUs that a control group allows.

By default torch takes one thread per core of the machine. In a container with a quota of 2 CPUs on a machine of 64 these wait for
one another, since all together may run 0.2 seconds in each 0.1 seconds.
"""

from __future__ import annotations

import os

import torch

from mathpipe.datasets.resources.cpus import available_cpus

CHOSEN_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # variables with which a user chooses, and which torch follows


def limit_threads(cpus: int | None = None) -> None:
    """Reduce torch's threads to the CPUs available to this process, unless the user chose their number by the environment."""
    if not any(os.environ.get(name) for name in CHOSEN_BY):
        cpus = cpus or available_cpus()
        if torch.get_num_threads() > cpus:
            torch.set_num_threads(cpus)
