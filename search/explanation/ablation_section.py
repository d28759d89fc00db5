"""What is lost without each part, and what it costs less."""

from collections.abc import Sequence

from markupsafe import Markup

from search.explanation.html import bar, note, number, paragraph, section, table, tag
from search.explanation.words import change, metric_title, no_adapters
from search.objectives import METRICS, formatted
from trainers.explain import Explanation
from trainers.explain.ablation import Ablation, flips
from trainers.explain.parts import ADAPTER, SIDE, TOKENS

SIGNIFICANT = 0.05
"""Below it a change is more than chance is likely to make."""


def ablation_section(found: Explanation) -> Markup:
    """Return what happens where a part is switched off."""
    title = "What is lost without each part"
    if not found.ablations:
        return section("ablation", title, paragraph(no_adapters(found)))
    singles = [a for a in found.ablations if a.part.what in (ADAPTER, TOKENS, SIDE)]
    groups = [a for a in found.ablations if a not in singles]
    parts = [note(_told(found)), tag("h3", "One by one"), _table(found, singles)]
    if groups:
        parts += [tag("h3", "Several together"), _table(found, groups)]
    return section("ablation", title, *parts)


def _told(found: Explanation) -> str:
    name = found.config.what.metrics[0]
    told = (
        "Each part is switched off by itself, all else stays as it was trained (nothing is trained"
        f" anew), and {metric_title(name)} is taken on the same rows. The cost is that of the"
        " structure without the part, in the form to be deployed, where lora with one expert and"
        " ia3 are merged and cost nothing."
    )
    if found.config.spec.exits:
        told += (
            " With early exits it is the mean over the rows, whose exits may change; in the last"
            " column no row leaves early."
        )
    if found.scored.right:
        told += (
            " Rows lost were right and are wrong without the part, rows won the reverse. Pale are"
            f" changes that chance alone may well make (McNemar's exact test, p above"
            f" {SIGNIFICANT})."
        )
    return told


def worse_by(found: Explanation, ablation: Ablation) -> float:
    """Return by how much the first metric is worse without a part; below zero where better."""
    name = found.config.what.metrics[0]
    sign = 1.0 if METRICS[name].direction == "maximize" else -1.0
    return sign * (found.scored.metrics[name] - ablation.without.metrics[name])


def is_chance(found: Explanation, ablation: Ablation) -> bool:
    """Return whether chance alone may well change so many rows; False where that is not known."""
    own = flips(found.scored, ablation.without)
    return own is not None and own.p > SIGNIFICANT


def _table(found: Explanation, ablations: Sequence[Ablation]) -> Markup:
    name = found.config.what.metrics[0]
    exits, counted = bool(found.config.spec.exits), bool(found.scored.right)
    order = sorted(ablations, key=lambda a: (-worse_by(found, a), a.part.name))
    most = max((abs(worse_by(found, a)) for a in ablations), default=0.0) or 1.0
    head = ["without", metric_title(name), "change", ""]
    head += ["rows lost", "won", "p"] if counted else []
    head += ["GFLOPs", "change", *(["GFLOPs without exits"] if exits else [])]
    whole = found.scored
    first = [tag("b", "nothing is off"), formatted(name, whole.metrics[name]), "", ""]
    first += ["", "", ""] if counted else []
    first += [number(whole.gflops), "", *([number(whole.most_gflops)] if exits else [])]
    rows = [first, *(_row(found, own, most) for own in order)]
    classes = ["keep", "n", "n", "", *["n"] * (len(head) - 4)]
    return table(head, rows, classes)


def _row(found: Explanation, own: Ablation, most: float) -> list[Markup | str]:
    name = found.config.what.metrics[0]
    whole, worse = found.scored, worse_by(found, own)
    kind = ("bad" if worse > 0 else "good") + (" pale" if is_chance(found, own) else "")
    told = change(name, own.without.metrics[name] - whole.metrics[name])
    cells: list[Markup | str] = [
        own.part.name,
        formatted(name, own.without.metrics[name]),
        tag("span", told, class_=kind if worse else None),
        bar(abs(worse) / most, kind),
    ]
    changed = flips(whole, own.without)
    if changed is not None:
        cells += [str(changed.n_lost), str(changed.n_won), f"{changed.p:.2g}"]
    cells += [number(own.without.gflops), _cost_change(whole.gflops, own.without.gflops)]
    return [*cells, *([number(own.without.most_gflops)] if found.config.spec.exits else [])]


def _cost_change(whole: float, without: float) -> str:
    share = without / whole - 1 if whole else 0.0
    return f"{share:+.1%}" if abs(share) >= 5e-4 else "0"


def most_needed(found: Explanation) -> list[Markup | str]:
    """Return in sentences which adapter is needed most, and which could go."""
    singles = [a for a in found.ablations if a.part.what == ADAPTER]
    if not singles:
        return []
    name = found.config.what.metrics[0]
    worst = max(singles, key=lambda a: worse_by(found, a))
    fell = change(name, worst.without.metrics[name] - found.scored.metrics[name])
    told = f"Needed most: {worst.part.name}; without it {metric_title(name)} changes by {fell}"
    if is_chance(found, worst):
        told = (
            f"No single adapter is needed beyond what chance might make on {len(found.rows)} rows;"
            f" the most is lost without {worst.part.name} ({fell})"
        )
    sentences: list[Markup | str] = [f"{told}."] if worse_by(found, worst) > 0 else []
    idle = [a for a in singles if worse_by(found, a) <= 0]
    if idle:
        shown = ", ".join(a.part.name for a in idle[:4]) + (" ..." if len(idle) > 4 else "")
        sentences.append(
            f"{len(idle)} of {len(singles)} adapters can each be left out without loss on these"
            f" rows ({shown}); whether all at once, only a training of the smaller structure tells."
        )
    return sentences
