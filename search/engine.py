"""Choose who trains a study's trials: this process, workers of this machine, or of a cluster."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from search import capacity
from search.context import StudyContext
from search.in_process import InProcess
from search.workers import Workers


@contextmanager
def open_workers(
    context: StudyContext, folder: Path, tell: Callable[[str], None]
) -> Iterator[Workers]:
    """Give the workers of a study, and end them afterwards. Ray is loaded only where it is needed.

    Args:
        context: the study, as this process has prepared it.
        folder: the study file's.
        tell: takes sentences for the user.

    Raises:
        UserError: there is no Ray, no cluster, or not as many cores as the workers need.
    """
    study = context.study
    if study.engine.ray is not None:
        with _cluster(context, study.engine.ray, folder, tell) as workers:
            yield workers
        return
    n_workers = capacity.n_workers_here(study)
    if n_workers == 1:
        yield InProcess(context)
        return
    from search.ray_cluster import on_this_machine

    share = capacity.share_of(study, n_workers)
    with on_this_machine(n_workers, share):
        from search.ray_engine import RayWorkers

        workers = RayWorkers(context, folder, n_workers, share, tell)
        try:
            yield workers
        finally:
            workers.close()


@contextmanager
def _cluster(
    context: StudyContext, address: str, folder: Path, tell: Callable[[str], None]
) -> Iterator[Workers]:
    from search.ray_cluster import in_cluster

    study = context.study
    share = capacity.share_of(study, None)
    with in_cluster(address) as n_cores:
        from search.ray_engine import RayWorkers

        n_places = max(1, n_cores // share.cores)
        n_workers = n_places if study.workers == capacity.AUTO else int(study.workers)
        if n_workers > n_places:
            tell(
                f"note: the cluster has {n_cores} cores: {n_places} of the {n_workers} workers run,"
                " the others wait for room."
            )
        workers = RayWorkers(context, folder, n_workers, share, tell)
        try:
            yield workers
        finally:
            workers.close()
