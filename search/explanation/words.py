"""What several parts of the page say alike."""

from search.objectives import SHARES, title_of
from trainers.explain import Explanation


def metric_title(name: str) -> str:
    """Return what a metric measures; these rows need not be those of validation."""
    return title_of(name).removeprefix("validation ")


def change(name: str, difference: float) -> str:
    """Return a difference of a metric: shares in points of percent."""
    if name in SHARES:
        return f"{100 * difference:+.2f} points" if difference else "0"
    return f"{difference:+.3g}" if difference else "0"


def no_adapters(found: Explanation) -> str:
    """Return that there is nothing between backbone and head."""
    return (
        "There are no adapters: this structure is a head on the frozen backbone"
        f" ({found.config.spec.describe()}). Nothing is added, and nothing can be switched off."
    )
