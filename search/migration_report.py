"""The account of a migration: what was kept, what changed, and what came of it; as data and words.

It is told on the terminal, stands in the new bundle's card, and as data in its migration.json.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from search.neighbourhood import Neighbourhood
from search.objectives import formatted, title_of
from space.roles import SUBLAYER_ENDS
from trainers.outline import FAMILY, FEWER, SAME, SHAPE, Outline

_COSTS = ("inference_gflops", "trainable_params", "adapter_mib", "latency_ms", "latency_ratio")
_LATENCY = "Latencies are of a machine that may be busy; the share of the bare backbone's compares."
_RELATIONS = {
    SAME: "has the same shape and other weights",
    FEWER: "is of the same family and widths and has fewer blocks",
    SHAPE: "is of the same family and has another depth or width",
    FAMILY: "is of another family",
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A backbone that the structure stands on, or stood on."""

    backbone: str
    fingerprint: str
    outline: Outline
    structure: str
    """In words, as it stands there."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """All that a migration has to say."""

    relation: str
    """Of the new backbone to the old one."""
    parent_sha256: str
    """Of the old bundle's SHA256SUMS."""
    before: Place
    after: Place
    changed: tuple[str, ...]
    dropped: tuple[str, ...]
    roles: tuple[str, ...]
    """Roles that adapters of the old structure serve."""
    moved_parts: tuple[str, ...]
    """Parts of the trained weights that went along, by name."""
    new_parts: tuple[str, ...]
    """Parts that were begun anew."""
    epochs: int
    """That were trained for on the new backbone."""
    steps: int
    quality: tuple[str, ...]
    """Metrics of the task, the one that counts first."""
    old: Mapping[str, Any]
    """Metrics of the old bundle on the old backbone."""
    recorded: str
    """Why they are those that were recorded at its export; "" where they were measured now."""
    moved: Mapping[str, float] | None
    """Metrics on the new backbone before any training; None where no weights went along."""
    trained: Mapping[str, float] | None
    """Metrics after it; None where nothing was trained."""
    broken: tuple[str, ...]
    """Constraints of the study that no longer hold."""
    objectives: tuple[str, ...]
    around: Neighbourhood | None
    """What a search around the structure found; None where it was not asked for."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data: migration.json."""
        results = {"before": self.old, "moved": self.moved, "trained": self.trained}
        return {
            "relation": self.relation,
            "parent_sha256": self.parent_sha256,
            **{
                when: {**vars(place), "outline": place.outline.to_dict()}
                for when, place in (("before", self.before), ("after", self.after))
            },
            "changed": list(self.changed),
            "dropped": list(self.dropped),
            "roles": [
                {
                    "role": role,
                    "before": _where(self.before.outline, role),
                    "after": _where(self.after.outline, role),
                }
                for role in self.roles
            ],
            "weights": {"moved": list(self.moved_parts), "new": list(self.new_parts)},
            "training": {"epochs": self.epochs, "steps": self.steps},
            "results": {when: _finite(metrics) for when, metrics in results.items()},
            "before_is": f"recorded: {self.recorded}" if self.recorded else "measured",
            "broken_constraints": list(self.broken),
            "front": None if self.around is None else asdict(self.around),
        }

    def lines(self) -> list[str]:
        """Return it in sentences, without the table."""
        return [
            f"The new backbone {_RELATIONS[self.relation]}: {self.after.outline.in_words()}"
            + ("" if self.relation == SAME else f"; before {self.before.outline.in_words()}")
            + ".",
            f"Structure: {self.after.structure}."
            + (
                " It is the old one."
                if self.after.structure == self.before.structure
                else f" Before: {self.before.structure}."
            ),
            *(f"Changed: {text}." for text in self.changed),
            *(f"Dropped: {text}." for text in self.dropped),
            *self._roles_in_words(),
            self._weights_in_words(),
            self._training_in_words(),
            *(
                [f"The figures before are those of its export: {self.recorded}."]
                * bool(self.recorded)
            ),
            *self._verdict(),
            *(f"The study's constraint {text}." for text in self.broken),
            self._front_in_words(),
        ]

    def table(self) -> list[tuple[str, ...]]:
        """Return what it gave and cost, a row a metric, the head first."""
        columns = [("before", self.old), ("moved only", self.moved), (self._trained, self.trained)]
        shown = [(name, metrics) for name, metrics in columns if metrics is not None]
        rows = [("on validation data", *(name for name, _ in shown))]
        for metric in (*self.quality, *_COSTS):
            values = [metrics.get(metric) for _, metrics in shown]
            if any(value is not None for value in values):
                texts = ["" if v is None else formatted(metric, v) for v in values]
                rows.append((title_of(metric).removeprefix("validation "), *texts))
        return rows

    @property
    def _trained(self) -> str:
        word = "refitted" if self.relation == SAME else "trained"
        return f"{word}, {_counted(self.epochs, 'epoch')}"

    def _roles_in_words(self) -> list[str]:
        if self.relation != FAMILY:
            return []
        pairs = [
            f"{role} ({_where(self.before.outline, role)} -> {now})"
            for role in self.roles
            if (now := _where(self.after.outline, role)) is not None
        ]
        return [f"Roles by name: {', '.join(pairs)}."] if pairs else []

    def _weights_in_words(self) -> str:
        if not self.moved_parts:
            return "Weights: none of the old ones fit; all were begun anew."
        if not self.new_parts:
            return f"Weights: all {_counted(len(self.moved_parts), 'part')} were moved over."
        return (
            f"Weights: moved as a start: {', '.join(self.moved_parts)}; begun anew:"
            f" {', '.join(self.new_parts)}."
        )

    def _training_in_words(self) -> str:
        if not self.epochs:
            return "Training: none; the weights are as they were moved."
        start = "from the moved weights" if self.moved_parts else "anew"
        return (
            f"Training: {start}, for {_counted(self.epochs, 'epoch')}"
            f" ({_counted(self.steps, 'step')})"
            + (", at a third of the rates." if self.relation == SAME else ".")
        )

    def _verdict(self) -> list[str]:
        """Say how the metric that counts went; its numbers stand in the table too."""
        name = self.quality[0]
        ends = [("before", self.old), ("moved", self.moved), (self._trained, self.trained)]
        known = [
            f"{when} {formatted(name, metrics[name])}"
            for when, metrics in ends
            if metrics is not None and metrics.get(name) is not None
        ]
        return [f"{title_of(name).capitalize()}: {'; '.join(known)}."]

    def _front_in_words(self) -> str:
        around = self.around
        if around is None:
            return (
                "Whether the structure is still near the front was not looked at; --search N does."
            )
        n_done = len(around.complete)
        within = "" if around.inside else " It lies outside the study's space."
        if not n_done:
            return f"None of its neighbours could be compared with it.{within}"
        counted = f"Of {_counted(n_done, 'neighbour')} trained anew"
        fewer = n_done + len(around.failed) < around.n_wanted
        within += f" The space has no more than these of {around.n_wanted}." if fewer else ""
        within += f" {len(around.failed)} more failed or broke a constraint." * bool(around.failed)
        if not around.better:
            return f"{counted}, none dominates it: it is still near the front.{within}"
        listed = "; ".join(
            f"{n.structure} ({self._values_in_words(n.values)})" for n in around.better
        )
        return (
            f"{counted}, {_dominating(len(around.better))} it, so that a new search may be worth"
            f" its time: {listed}.{within}"
        )

    def _values_in_words(self, values: Sequence[float]) -> str:
        pairs = zip(self.objectives, values, strict=True)
        return ", ".join(f"{name} {formatted(name, value)}" for name, value in pairs)


def in_words(account: Account) -> str:
    """Return an account for a terminal."""
    rows = account.table()
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    return "\n".join([*account.lines(), "", *table, _LATENCY])


def in_markdown(account: Account) -> str:
    """Return an account as a part of a model card."""
    head, *rows = (f"| {' | '.join(row)} |" for row in account.table())
    rule = "|---" * len(account.table()[0]) + "|"
    sentences = "\n".join(f"- {line}" for line in account.lines())
    before = account.before
    return f"""## Migration

Moved here from the backbone {before.backbone} (fingerprint {before.fingerprint[:16]}), out of the
bundle whose SHA256SUMS has the SHA-256 {account.parent_sha256[:16]}....

{sentences}

{head}
{rule}
{chr(10).join(rows)}

{_LATENCY} All of it as data: migration.json.

"""


def _where(outline: Outline, role: str) -> str | None:
    """Return where a role is in a block; None where the backbone does not have it."""
    ends = SUBLAYER_ENDS.get(role, (role,))
    if not set(ends) <= outline.roles.keys():
        return None
    return " to ".join(outline.roles[end].place for end in ends)


def _finite(metrics: Mapping[str, Any] | None) -> dict[str, float | None] | None:
    """Return the numbers among metrics; one that is not finite has no place in JSON."""
    if metrics is None:
        return None
    numbers = {k: v for k, v in metrics.items() if isinstance(v, (int, float))}
    return {k: float(v) if math.isfinite(v) else None for k, v in numbers.items()}


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _dominating(number: int) -> str:
    return "1 dominates" if number == 1 else f"{number} dominate"
