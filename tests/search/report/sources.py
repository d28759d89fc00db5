"""What a source on the page comes to, recomputed from the storage and the study file alone.

Read with Optuna's own client, numpy and PyYAML; of Paradapt only the statistics of confirmed
results are taken, which have tests of their own.
"""

import json
import math
import re
from collections import Counter
from datetime import timedelta
from itertools import pairwise

import numpy
import optuna
import yaml
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from search.confirmed import comparisons, confirmed, winners_curse

CONSTANTS = {
    "level_pct": 95,
    "chance_pct": 5,
    "tolerance_pct": 1,
    "hours_a_day": 24,
    "days_a_year": 365,
    "min_trials": 8,
    "max_rows": 15,
}


class Sources:
    """All that a page may name, of one study."""

    def __init__(self, name, storage, study_file, resolved):
        self.study = optuna.load_study(study_name=name, storage=storage)
        self.trials = self.study.get_trials(deepcopy=False)
        self.attrs = self.study.user_attrs
        self.path = str(study_file)
        self.file = yaml.safe_load(resolved)
        self.given = yaml.safe_load(study_file.read_text(encoding="utf-8"))
        self.costs = self.given.get("costs", {})
        self._known_runs, self._known_importances = {}, {}
        self.names = [name for o in self.file["objectives"] for name in o.values()]

    def value(self, source):
        """Return what a source is."""
        kind, _, rest = source.partition(":")
        return getattr(self, f"_{kind}")(*rest.split(":"))

    # The search.

    def _trial(self, number, what):
        trial = self.trials[int(number)]
        first, _, rest = what.partition(".")
        if first == "number":
            return trial.number
        if first == "values":
            return trial.values[int(rest)]
        if first == "spec":
            return json.loads(trial.user_attrs["spec"])
        return trial.user_attrs[first][rest]

    def _complete(self):
        return [
            t
            for t in self.trials
            if t.state == TrialState.COMPLETE
            and t.user_attrs.get("end") == "complete"
            and "same_as" not in t.user_attrs
        ]

    def _sampled(self):
        """Baselines outside the space have no parameters."""
        return [trial for trial in self._complete() if trial.params]

    def _study(self, what):
        first, _, rest = what.partition(".")
        if first == "counts":
            if rest == "running":
                return sum(t.state == TrialState.RUNNING for t in self.trials)
            ended = [t.user_attrs for t in self.trials if t.state.is_finished()]
            if rest == "equal":
                return sum("same_as" in attrs for attrs in ended)
            return Counter(a.get("end") for a in ended if "same_as" not in a)[rest]
        if first == "labels":
            return len(self.attrs["labels"])
        if first == "n_sampled":
            return len(self._sampled())
        if first == "top_share":
            return min(max(0.1, 5 / len(self._sampled())), 0.5)
        if first == "params":
            return self.attrs["facts"]["params"][rest]
        if first in ("class_name", "class_rows"):
            classes = self.attrs["facts"]["datasets"][0]["classes"]
            return list(classes.keys() if first == "class_name" else classes.values())[int(rest)]
        if first == "n_front":
            return len(self.study.best_trials)
        if first == "n_confirmed_runs":
            return len(self._runs())
        if first == "n_confirmed":
            return len({key for key, _ in self._runs()})
        if first == "search_s":
            return self._search_s()
        if first == "confirm_s":
            return sum(run["train_s"] for run in self._runs().values() if "train_s" in run)
        if first == "backbone_ms":
            metrics = [t.user_attrs["metrics"] for t in self._complete()]
            return float(numpy.median([m["latency_ms"] / m["latency_ratio"] for m in metrics]))
        if first == "last_end":
            last = max(t.datetime_complete for t in self.trials if t.datetime_complete)
            return last.strftime("%Y-%m-%d %H:%M")
        return str(self.attrs[first][rest])

    def _search_s(self):
        """Cut time into pieces at every start and end; add up those that lie in some trial."""
        finished = [t for t in self.trials if t.state.is_finished()]
        ended = [t for t in finished if t.user_attrs.get("end") != "interrupted"]
        took = [t.user_attrs.get("took_s", t.duration.total_seconds()) for t in ended]
        spans = [
            (t.datetime_start.timestamp(), (t.datetime_start + timedelta(seconds=s)).timestamp())
            for t, s in zip(ended, took, strict=True)
        ]
        edges = sorted({edge for span in spans for edge in span})
        return sum(
            b - a
            for a, b in pairwise(edges)
            if any(start <= a and b <= end for start, end in spans)
        )

    def _file(self, key):
        if key == "path":
            return self.path
        if key == "constraints":
            return None  # in words, see the text beside it
        found = self.file
        for name in key.split("."):
            found = found[name]
        return found

    def _difference(self, model, other, metric):
        return self._of(model, metric) - self._of(other, metric)

    def _searched(self, key, metric):
        trial = self._trial_of(key)
        return None if trial is None else trial.user_attrs["metrics"].get(metric)

    def _of(self, key, metric):
        return self._searched(key, metric)

    def _trial_of(self, key):
        if key.startswith("trial-"):
            return self.trials[int(key.removeprefix("trial-"))]
        found = [t for t in self._complete() if t.user_attrs.get("baseline") == key]
        return found[-1] if found else None

    # What was confirmed.

    def _runs(self):
        """Return the metrics of every confirmed training by key and seed."""
        if self._known_runs:
            return self._known_runs
        found = self._known_runs
        for name, content in self.attrs.items():
            match = re.fullmatch(r"confirmed\.(.+)\.(\d+)", name)
            if match and content["contract"] == self.attrs["confirm"]["contract"]:
                found[match[1], int(match[2])] = content["metrics"]
        return found

    def _values(self, key, metric):
        runs = sorted(item for item in self._runs().items() if item[0][0] == key)
        return [metrics[metric] for _, metrics in runs if metric in metrics]

    def _confirm(self, what):
        setting = self.attrs["confirm"]
        if what == "backbone_mib":
            return setting["backbone_params"] * 4 / 2**20
        if what == "n_wanted":
            return len(setting["seeds"]) * len(setting["points"])
        if what == "seeds":
            return ", ".join(map(str, setting["seeds"]))
        return len(setting["seeds"]) if what == "n_seeds" else setting[what]

    def _confirmed(self, key, what, metric=None):
        if what == "n":
            return sum(own == key for own, _ in self._runs())
        if what == "search_score":
            return self.attrs["confirm"]["points"][key]["search_score"]
        if what in ("mean", "std"):
            values = self._values(key, metric)
            return float(numpy.mean(values) if what == "mean" else numpy.std(values, ddof=1))
        (point,) = (p for p in confirmed(self.study) if p.key == key)
        return point.interval(metric)[what == "high"]

    def _compare(self, key, other, what):
        (test,) = (c for c in comparisons(self.study) if (c.point.key, c.other.key) == (key, other))
        if what == "difference":
            metric = self.attrs["confirm"]["metric"]
            by_seed = {name: m[metric] for name, m in self._runs().items()}
            common = {s for k, s in by_seed if k == key} & {s for k, s in by_seed if k == other}
            return float(numpy.mean([by_seed[key, s] - by_seed[other, s] for s in common]))
        low, high = test.interval
        return {"low": low, "high": high, "corrected": test.corrected}[what]

    def _curse(self, what):
        return getattr(winners_curse(self.study), what)

    def _measured(self, key, metric):
        values = self._values(key, metric) if "confirm" in self.attrs else []
        return float(numpy.mean(values)) if values else self._searched(key, metric)

    def _ratio(self, key, other, metric):
        return self._measured(key, metric) / self._measured(other, metric)

    # Money and energy, by the formulas that the page states.

    def _cost(self, key, what):
        costs = self.costs
        if what == "request_ms":
            return self._request_ms(key)
        if what in ("money", "energy_kwh", "carbon_kg"):
            seconds = {"search": "search_s", "confirm": "confirm_s"}.get(key)
            hours = (self._study(seconds) if seconds else self._measured(key, "train_s")) / 3600
            return self._spent(hours, what)
        busy = costs["requests_day"] * self._request_ms(key) / 1000 / 3600
        machines = math.ceil(busy / 24)
        if what == "always_on_a_year":
            power = 365 * busy * costs["watts"] / 1000 * costs["electricity_kwh"]
            return machines * 24 * 365 * costs["machine_hour"] + power
        return {
            "busy_hours_a_day": lambda: busy,
            "machines": lambda: machines,
            "money_a_day": lambda: self._spent(busy, "money"),
            "money_a_year": lambda: self._spent(365 * busy, "money"),
            "energy_kwh_a_year": lambda: self._spent(365 * busy, "energy_kwh"),
            "carbon_kg_a_year": lambda: self._spent(365 * busy, "carbon_kg"),
        }[what]()

    def _spent(self, hours, what):
        costs = self.costs
        energy = hours * costs["watts"] / 1000
        if what == "money":
            return hours * costs["machine_hour"] + energy * costs["electricity_kwh"]
        return energy if what == "energy_kwh" else energy * costs["carbon_g_kwh"] / 1000

    def _request_ms(self, key):
        ratio = self._measured(key, "latency_ratio")
        if ratio is None:  # TF-IDF has no backbone to be compared with
            return self._measured(key, "latency_ms")
        return ratio * self._study("backbone_ms")

    # Knobs.

    def _importance(self, objective, knob):
        return self._importances(objective)[knob]

    def _importances(self, objective):
        """Negated, so that low is better, which is how Optuna takes a target."""
        if objective in self._known_importances:
            return self._known_importances[objective]
        index = self.names.index(objective)
        study = optuna.create_study(directions=self.study.directions)
        study.add_trials(self._sampled())
        params = {name for t in self._sampled() for name in t.params}
        if objective == "inference_gflops":
            params -= {"learning_rate"}
        sign = -1 if study.directions[index].name == "MAXIMIZE" else 1
        found = self._known_importances[objective] = get_param_importances(
            study,
            params=sorted(params),
            evaluator=PedAnovaImportanceEvaluator(target_quantile=self._study("top_share")),
            target=lambda t: sign * t.values[index],
        )
        return found

    def _median(self, objective, knob, value):
        index = self.names.index(objective)
        having = [t for t in self._sampled() if str(t.params.get(knob)) == value]
        return float(numpy.median([t.values[index] for t in having]))

    def _constant(self, name):
        return CONSTANTS[name]
