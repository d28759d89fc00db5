"""A Ray cluster of two nodes on one machine, a study on PostgreSQL, and a node that is killed."""

import optuna
import pytest

from tests.end_to_end.worker_study import (
    check_complete,
    check_mlflow,
    running,
    started,
    trials_of,
    wait_until,
    write_worker_study,
)
from tests.postgres_server import postgres

pytest.importorskip("ray", reason="Ray is not installed")
__all__ = ["postgres"]
LOST = "its worker was lost: the process or its machine died"

pytestmark = pytest.mark.slow
N_TRIALS = 8


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of one core each; the second can be killed."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    made = Cluster()
    made.add_node(num_cpus=1, include_dashboard=False)
    other = made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made, other
    made.shutdown()


def test_a_node_that_is_killed_in_the_middle_costs_no_trial(tmp_path, postgres, cluster):
    nodes, other = cluster

    def trials():
        return trials_of(postgres.url, folder=tmp_path)

    path = write_worker_study(
        tmp_path,
        n_rows=900,
        budget={"trials": N_TRIALS, "epochs": 6},
        workers="auto",
        engine={"ray": nodes.address},
        storage=postgres.url,
    )
    with started("search", path.name, cwd=tmp_path) as process:
        # A node prepares for minutes where all of them share a busy core.
        wait_until(lambda: running(trials(), least=2), process, "two trials", wait_s=400)
        before = trials()
        nodes.remove_node(other, allow_graceful=False)
        stdout, stderr = process.communicate(timeout=500)
    assert process.returncode == 0, stderr
    assert "The study 'topics' is finished" in stdout and "Traceback" not in stderr
    after = trials()
    check_complete(after, N_TRIALS)
    (cut,) = [t for t in after if t.user_attrs["end"] == "interrupted"]
    assert cut.user_attrs["reason"] == LOST
    for trial in before:
        if trial.state.is_finished():
            assert after[trial.number] == trial
    # The front that plain Optuna makes of the trials is of whole ones; it holds the best accuracy.
    plain = optuna.create_study(directions=["maximize", "minimize"])
    plain.add_trials(after)
    best = plain.best_trials
    assert {trial.user_attrs["end"] for trial in best} == {"complete"}
    assert max(t.values[0] for t in best) == max(t.values[0] for t in after if t.values)
    check_mlflow(tmp_path, after)
