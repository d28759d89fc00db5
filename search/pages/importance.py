"""How much each sampled parameter decides each objective, as a page."""

from collections.abc import Mapping
from html import escape

from search.importance import MIN_TRIALS, importances, quantile_of, sampled
from search.objectives import title_of
from search.pages.shell import page, paragraph, plot
from search.pages.style import HUES, Figure, axis, base_layout
from search.pages.words import in_numbers
from search.snapshot import StudySnapshot

_MAX_SHOWN = 24


def importance_html(snapshot: StudySnapshot) -> str:
    """Return the page."""
    title = "Importance of the parameters"
    n_trials = len(sampled(snapshot.trained))
    if n_trials < MIN_TRIALS:
        text = (
            f"{n_trials} sampled trials are complete; from {MIN_TRIALS} on something can be"
            " said about which parameters matter."
        )
        return page(snapshot.study_name, title, in_numbers(snapshot), paragraph(text))
    found = importances(snapshot.trained, snapshot.directions, snapshot.names)
    if not any(any(shares.values()) for shares in found.values()):
        text = "All complete trials have the same parameters or the same values."
        return page(snapshot.study_name, title, in_numbers(snapshot), paragraph(text))
    n_shown = min(len(next(iter(found.values()))), _MAX_SHOWN)
    text = (
        f"How differently the best {quantile_of(n_trials):.0%} of {n_trials} complete"
        " trials are spread along each parameter than all of them, objective by objective; the"
        " shares of an objective add up to 100 % (PED-ANOVA). Of few trials it is a hint, no more."
    )
    height = f"{130 + n_shown * (10 + 13 * len(found))}px"
    return page(
        snapshot.study_name,
        title,
        in_numbers(snapshot),
        paragraph(text),
        plot(importance_figure(found), "importance", height),
    )


def importance_figure(found: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw a bar for each parameter and objective, the most important parameters first."""
    names = list(next(iter(found.values())))
    names.sort(key=lambda name: -max(shares[name] for shares in found.values()))
    names = names[:_MAX_SHOWN]
    bars = [
        {
            "type": "bar",
            "orientation": "h",
            "x": [shares[name] for name in names],
            "y": [escape(name).replace("_", " ") for name in names],
            "name": escape(title_of(objective)),
            "marker": {"color": HUES[index % len(HUES)]},
            "hovertemplate": "%{y}: %{x:.1%}<extra>%{fullData.name}</extra>",
        }
        for index, (objective, shares) in enumerate(found.items())
    ]
    layout = base_layout(
        barmode="group",
        bargap=0.3,
        xaxis=axis("importance", tickformat=".0%", rangemode="tozero"),
        yaxis=axis(autorange="reversed", showgrid=False),
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
    )
    return {"data": bars, "layout": layout}
