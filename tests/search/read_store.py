"""A tracking store read back without any code of ours."""

from mlflow.tracking import MlflowClient


class ReadStore:
    """What MLflow's own client finds in the experiment `quickstart`."""

    def __init__(self, uri):
        self.client = MlflowClient(uri)

    def experiment(self):
        return self.client.get_experiment_by_name("quickstart")

    def runs(self, kind):
        found = self.client.search_runs(
            [self.experiment().experiment_id], f"tags.`paradapt.kind` = '{kind}'", max_results=1000
        )
        return sorted(found, key=lambda run: int(run.data.tags.get("paradapt.trial", -1)))

    def parent(self):
        (run,) = self.runs("study")
        return run

    def points(self, run, metric):
        history = self.client.get_metric_history(run.info.run_id, metric)
        return [(point.step, point.value, point.timestamp) for point in history]

    def everything(self):
        """All runs with every point, without what may differ between two looks."""
        runs = [*self.runs("study"), *self.runs("trial")]
        return [
            (
                run.info.run_id,
                run.info.status,
                run.info.start_time,
                run.info.end_time,
                run.data.params,
                run.data.tags,
                {metric: self.points(run, metric) for metric in run.data.metrics},
            )
            for run in runs
        ]
