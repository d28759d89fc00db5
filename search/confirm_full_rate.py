"""At which learning rate full fine-tuning is confirmed: the best of the usual ones.

The search chose the rates of its structures on the validation rows; a reference at a rate that does
not suit the data would be beaten too easily. So it is chosen in the same way, on the study's own
seed, and each score is kept in the storage.
"""

from collections.abc import Callable

import optuna

from search.confirm_points import compared_metric
from search.confirm_training import score_full_rate
from search.context import StudyContext
from search.objectives import METRICS, formatted
from trainers.fit import Tick
from trainers.full import FULL_RATES

FULL_RATE = "confirm.full_rate."
"""Study attribute, with the rate behind it: the validation score that it gave."""


def choose_full_rate(
    stored: optuna.Study, context: StudyContext, tick: Tick, tell: Callable[[str], None]
) -> float:
    """Return the rate with the best validation score; what is not known yet is trained.

    Args:
        stored: the study; its contract fixes rows, epochs and seed, so that scores hold.
        context: the study, as its trials have it.
        tick: is told each step.
        tell: takes a sentence for each rate that was tried, and for the choice.

    Raises:
        TrialError: a loss that is not finite, or no memory left.
    """
    metric = compared_metric(context.study)
    scores: dict[float, float] = {}
    for rate in FULL_RATES:
        key = f"{FULL_RATE}{rate:g}"
        if key not in stored.user_attrs:
            score = score_full_rate(context, rate, metric, tick)
            stored.set_user_attr(key, score)
            tell(
                f"full fine-tuning at a rate of {rate:g}: {metric} {formatted(metric, score)} on"
                " the validation rows"
            )
        scores[rate] = float(stored.user_attrs[key])
    best = max if METRICS[metric].direction == "maximize" else min
    return best(scores, key=scores.__getitem__)
