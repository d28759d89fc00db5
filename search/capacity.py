"""How many workers there are, and what of the machine each has."""

from dataclasses import dataclass

import psutil
import torch

from search import cores
from search.study_file import StudySpec
from space.errors import UserError

AUTO = "auto"
MEMORY_SHARE = 0.8
"""Of the memory that is free, this much may go to workers."""
MEMORY_FACTOR = 2.0
"""A worker that trains needs about so many times what this process has when a study is prepared:
what it holds then, and the states of a batch that wait for the backward pass."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What each worker has."""

    cores: int
    """Cores, which are as many threads."""
    gpus: float
    """A share of a GPU, or whole ones."""
    memory_mib: int | None
    """None: what it takes."""


def in_process(study: StudySpec) -> bool:
    """Whether this process itself is the one worker."""
    return study.workers == 1 and study.engine.ray is None


def set_threads(study: StudySpec) -> None:
    """Let torch use as many threads in this process as a worker has: what is measured holds there.

    Raises:
        UserError: the machine has not as many cores as the workers need.
    """
    if study.engine.cores is not None or not in_process(study):
        torch.set_num_threads(_cores(study))


def share_of(study: StudySpec, n_workers: int | None) -> Share:
    """Return what each of so many workers of this machine has, or of a cluster (None)."""
    wanted = study.engine
    gpus = wanted.gpus
    if gpus is None:
        n_gpus = torch.cuda.device_count()
        gpus = float(n_gpus > 0) if n_workers is None else min(1.0, n_gpus / n_workers)
    memory = None if wanted.memory_gib is None else round(wanted.memory_gib * 1024)
    return Share(cores=_cores(study), gpus=gpus, memory_mib=memory)


def n_workers_here(study: StudySpec) -> int:
    """Return how many workers this machine has for a study that this process has prepared.

    `auto` is as many as have cores, memory and, where there is one, a share of a GPU.

    Raises:
        UserError: the machine has not as many cores as the workers need.
    """
    n_cores = _cores(study)
    if study.workers != AUTO:
        return int(study.workers)
    bounds = [cores.available() // n_cores]
    own_mib = MEMORY_FACTOR * psutil.Process().memory_info().rss / 2**20
    each_mib = own_mib if study.engine.memory_gib is None else 1024 * study.engine.memory_gib
    bounds.append(int(MEMORY_SHARE * psutil.virtual_memory().available / 2**20 / each_mib))
    if torch.cuda.is_available():
        bounds.append(int(torch.cuda.device_count() / (study.engine.gpus or 1.0)))
    return max(1, min(bounds))


def _cores(study: StudySpec) -> int:
    """Return the cores of a worker: as the study file says; else the machine's, shared out."""
    wanted, n_workers = study.engine.cores, study.workers
    if study.engine.ray is not None or n_workers == AUTO:
        return wanted or 1
    n_cores = cores.available()
    own = wanted or max(1, n_cores // int(n_workers))
    if own * int(n_workers) > n_cores:
        raise UserError(
            f"workers: {n_workers} of {own} core{'s' * (own > 1)} each need"
            f" {own * int(n_workers)} cores, but this machine has {n_cores} for them. Fewer workers"
            " are faster than many on one core; `workers: auto` is as many as fit."
        )
    return own
