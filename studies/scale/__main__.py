"""Measure the driver's work, simulate studies with it, and write the tables of README.md.

`python -m studies.scale` takes about ten minutes on an idle core; `--trials` and `--workers` make
it shorter.
"""

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna

from studies.benchmarks.report import write_between_markers
from studies.scale.driver import STEPS, Driver, Spent
from studies.scale.fill import fill
from studies.scale.postgres import USER, programs, running_postgres
from studies.scale.simulate import Outcome, simulate
from studies.scale.table import Measured, tables
from studies.scale.tracking import pages_s, run_s
from studies.scale.trainings import Trainings

N_BASE = 30
"""Trials that are run one after the other, to be copied."""
N_TIMED = 3
EPOCHS_S = (3.0, 300.0)
"""Mean length of an epoch: as measured on the benchmark, and a hundred times as long."""


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m studies.scale", description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1_000])
    parser.add_argument("--write", action="store_true", help="Into README.md.")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="paradapt-scale-") as name:
        base = f"sqlite:///{Path(name, 'base.db')}"
        driver = Driver(base, asked.trials)
        for _ in range(N_BASE):
            driver.run()
        measured = [
            point
            for storage in (["sqlite", "postgresql"] if programs() else ["sqlite"])
            for point in _measured(storage, base, asked.workers, asked.trials)
        ]
    outcomes = [
        (point, epoch_s, _outcome(point, asked.trials, epoch_s))
        for epoch_s in EPOCHS_S
        for point in measured
    ]
    text = tables(measured, outcomes, asked.trials)
    print(text)
    if asked.write:
        write_between_markers(Path(__file__).with_name("README.md"), text)


def _outcome(point: Measured, n_trials: int, epoch_s: float) -> Outcome:
    costs = {
        step: [(size, spent[step].whole_s) for size, spent in point.sizes.items()] for step in STEPS
    }
    return simulate(costs, Trainings().all(), point.n_workers, n_trials, epoch_s)


def _measured(storage: str, base: str, workers: Sequence[int], n_trials: int) -> Iterator[Measured]:
    for n_workers in workers:
        sizes = {}
        with tempfile.TemporaryDirectory(prefix="paradapt-scale-") as name:
            for size in (n_trials // 10, n_trials):
                with _database(storage, Path(name, f"{size}.db")) as url:
                    driver = _filled(base, url, size, n_workers, n_trials)
                    sizes[size] = _median([driver.run()[0] for _ in range(N_TIMED)])
                    print(
                        f"{storage}, {n_workers} workers, {size} trials: {sizes[size]}", flush=True
                    )
                    if size == n_trials and n_workers == workers[0]:
                        tracked = run_s(driver.stored, driver.study, Path(name))
                        pages = pages_s(driver.stored, driver.study)
            # Tracking does not depend on how many trials run.
            yield Measured(
                storage=storage, n_workers=n_workers, sizes=sizes, run_s=tracked, pages_s=pages
            )


def _filled(base: str, url: str, size: int, n_workers: int, n_trials: int) -> Driver:
    Driver(url, n_trials)  # makes the study
    fill(base, url, size, min(n_workers, size // 2))
    driver = Driver(url, n_trials)  # reads all of them anew, as a driver that is started again
    driver.run()
    return driver


def _median(timed: Sequence[dict[str, Spent]]) -> dict[str, Spent]:
    return {
        step: Spent(
            whole_s=statistics.median(spent[step].whole_s for spent in timed),
            storage_s=statistics.median(spent[step].storage_s for spent in timed),
            n_calls=round(statistics.median(spent[step].n_calls for spent in timed)),
        )
        for step in STEPS
    }


@contextmanager
def _database(storage: str, path: Path) -> Iterator[str]:
    if storage == "sqlite":
        yield f"sqlite:///{path}"
        return
    with running_postgres("scale") as port:
        yield f"postgresql+psycopg://{USER}:scale@127.0.0.1:{port}/postgres"


if __name__ == "__main__":
    main()
