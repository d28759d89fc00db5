"""What is shown of a trial where the pointer rests on it. All text of users is escaped."""

import textwrap
from html import escape

from optuna.trial import FrozenTrial, TrialState

from search.baselines import baseline_title
from search.front import structure


def hover_head(trial: FrozenTrial) -> str:
    """Return the first line of a trial's hover text."""
    head = f"<b>trial {trial.number}</b>"
    if "baseline" in trial.user_attrs:
        head += f", baseline: {escape(baseline_title(trial.user_attrs['baseline']))}"
    return head


def hover_facts(trial: FrozenTrial) -> list[str]:
    """Return the last lines of a trial's hover text: its structure in words, how it was trained."""
    attrs = trial.user_attrs
    rate = learning_rate_of(trial)
    facts = [f"learning rate {rate}"] if rate else []
    if "train_s" in attrs.get("metrics", {}):
        facts.append(f"trained for {attrs['metrics']['train_s']:.3g} s")
    long = [structure(trial), ", ".join(facts)]
    if trial.state != TrialState.COMPLETE and attrs.get("reason"):
        long.append(f"{attrs.get('end', '')}: {attrs['reason']}")
    return [escape(line) for text in long for line in textwrap.wrap(text, 62)]


def learning_rate_of(trial: FrozenTrial) -> str:
    """Return the learning rate of a trial for people, "" where it has none."""
    rate = trial.user_attrs.get("learning", {}).get("learning_rate")
    return "" if rate is None else f"{rate:.2g}"
