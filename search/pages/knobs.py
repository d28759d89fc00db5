"""The knobs of a study: what of a structure varies between its trials, one column each.

Knobs are read off the structures themselves, not off the sampled parameters, so that baselines,
starting points and every granularity of ranks have them too.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from optuna.trial import FrozenTrial

from space.spec import AdapterSpec

Value = float | str | None
_MAX_CHOICES = 8
"""Of a knob that is a choice; rarer ones are shown as one."""
OTHERS = "others"


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One property of structures, with its value for each of some trials."""

    title: str
    values: tuple[Value, ...]
    """None where the structure has none: a rank without adapters."""
    log: bool = False
    """Whether its axis is logarithmic."""

    @property
    def is_number(self) -> bool:
        """Whether the values have an order."""
        return not any(isinstance(value, str) for value in self.values)

    @property
    def known(self) -> list[float | str]:
        """The values that there are, without None."""
        return [value for value in self.values if value is not None]


def knobs_of(trials: Sequence[FrozenTrial]) -> list[Knob]:
    """Return the knobs that differ between some trials, trainable parameters first."""
    specs = [_spec(trial.user_attrs["spec"]) for trial in trials]
    knobs = [
        Knob(
            title="trained parameters",
            values=tuple(t.user_attrs.get("metrics", {}).get("trainable_params") for t in trials),
            log=True,
        ),
        *(Knob(title=title, values=tuple(map(read, specs))) for title, read in _READ.items()),
        Knob(
            title="learning rate",
            values=tuple(t.user_attrs.get("learning", {}).get("learning_rate") for t in trials),
            log=True,
        ),
    ]
    return [_with_few_choices(knob) for knob in knobs if len(set(knob.known)) > 1]


@lru_cache(maxsize=10_000)
def _spec(text: str) -> AdapterSpec:
    return AdapterSpec.from_json(text)


def _mean_rank(spec: AdapterSpec) -> float | None:
    ranks = [adapter.rank for adapter in spec.adapters if adapter.rank is not None]
    return statistics.fmean(ranks) if ranks else None


def _kinds(spec: AdapterSpec) -> str:
    if spec.side is not None:
        return "side network"
    return " + ".join(sorted({adapter.kind for adapter in spec.adapters})) or "head only"


def _roles(spec: AdapterSpec) -> str:
    return " + ".join(sorted({adapter.role for adapter in spec.adapters})) or "none"


_READ: Mapping[str, Callable[[AdapterSpec], Value]] = {
    "blocks that run": lambda spec: spec.depth,
    "blocks with adapters": lambda spec: len(spec.insertion_layers),
    "lowest adapted block": lambda spec: min(spec.insertion_layers, default=None),
    "adapted roles": lambda spec: len({adapter.role for adapter in spec.adapters}),
    "mean rank": _mean_rank,
    "kinds": _kinds,
    "roles": _roles,
    "experts": lambda spec: max((adapter.experts for adapter in spec.adapters), default=None),
    "tokens kept": lambda spec: min((skip.token_keep for skip in spec.skips), default=1.0),
    "early exits": lambda spec: len(spec.exits),
    "side network's width": lambda spec: spec.side.width if spec.side else None,
    "pooling": lambda spec: spec.pooling,
}


def _with_few_choices(knob: Knob) -> Knob:
    """Gather the rarest choices under one name."""
    if knob.is_number:
        return knob
    choices = sorted(set(knob.known), key=lambda value: (-knob.known.count(value), str(value)))
    if len(choices) <= _MAX_CHOICES:
        return knob
    kept = set(choices[: _MAX_CHOICES - 1])
    values = tuple(v if v is None or v in kept else OTHERS for v in knob.values)
    return Knob(title=knob.title, values=values)
