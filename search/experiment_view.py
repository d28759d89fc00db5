"""How MLflow's UI shows a study's experiment: its kind, first metric, and a view made ready.

The UI keeps a view that someone shares (columns, filter, charts) as a tag of the experiment, under
a key that stands in the address. Such a tag is written here: the trials as a table with the
columns that matter, and beside it accuracy against cost as a chart.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.mlflow_client import END_TAG, KIND_TAG

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

VIEW = "paradapt"
"""The key of the view."""

_ALSO = ("trainable_params", "train_s", "latency_ms")
"""Metrics that have a column beside the objectives."""


def view_address(experiment_id: str, *, chart: bool = False) -> str:
    """Return the address of the view on its server."""
    mode = "CHART" if chart else "TABLE"
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW}&compareRunsMode={mode}"


def dress_experiment(
    client: "MlflowClient",
    experiment: "Experiment",
    names: Sequence[str],
    *,
    maximize: bool,
    question: str,
) -> None:
    """Set the experiment's tags where they are missing or differ.

    Args:
        client: of the store.
        experiment: the study's.
        names: objectives, the first of which is the primary metric.
        maximize: whether more of that one is better.
        question: what the study looks for, shown in the list of experiments.
    """
    wanted = {
        # Without its kind MLflow's UI opens an experiment in its view of language model traces.
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.experiment.primaryMetric.name": names[0],
        "mlflow.experiment.primaryMetric.greaterIsBetter": str(maximize),
        "mlflow.note.content": question,
        f"mlflow.sharedViewState.{VIEW}": json.dumps(_view(names, maximize=maximize)),
    }
    # What a user may have written himself.
    kept = {"mlflow.experimentKind", "mlflow.note.content"} & experiment.tags.keys()
    for key, value in wanted.items():
        if key not in kept and experiment.tags.get(key) != value:
            client.set_experiment_tag(experiment.experiment_id, key, value)


def _view(names: Sequence[str], *, maximize: bool) -> dict[str, object]:
    """The state of the UI's page of runs, as it keeps it itself."""
    columns = [
        *(f"metrics.`{name}`" for name in dict.fromkeys([*names, *_ALSO])),
        f"tags.`{END_TAG}`",
        "tags.`paradapt.baseline`",
        "params.`structure`",
    ]
    charts = [
        _chart(f"{VIEW}-{other}", xaxis={"key": other, "type": "METRIC"}, yaxis=names[0])
        for other in dict.fromkeys([*names[1:], "trainable_params"])
        if other != names[0]
    ]
    return {
        "searchFilter": f"tags.`{KIND_TAG}` = 'trial'",
        "orderByKey": f"metrics.`{names[0]}`",
        "orderByAsc": not maximize,
        "selectedColumns": columns,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": [
            {
                "uuid": VIEW,
                "name": f"{names[0]} against cost",
                "display": True,
                "isReordered": False,
                "deleted": False,
                "isGenerated": False,
            }
        ],
    }


def _chart(uuid: str, *, xaxis: dict[str, str], yaxis: str) -> dict[str, object]:
    return {
        "type": "SCATTER",
        "uuid": uuid,
        "metricSectionId": VIEW,
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
        "xaxis": xaxis,
        "yaxis": {"key": yaxis, "type": "METRIC"},
    }
