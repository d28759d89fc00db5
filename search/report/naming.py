"""What models, metrics, knobs and structures are called on the page."""

from collections.abc import Mapping
from typing import Any

from search.plain_twin import SUFFIX
from search.report.facts import Fact, trial_number
from search.report.models import Model
from search.report.shown import shown
from search.report.texts import Rich, Texts
from space.roles import ROLES
from space.spec import AdapterSpec


def title(model: Model, texts: Texts) -> Rich:
    """Return a model's name: a trial by its number, a baseline by its own name."""
    if model.baseline is not None:
        return (_baseline(model.baseline, texts),)
    assert model.trial is not None
    return texts("model.trial", n=trial_number(model.trial.number))


def plain_title(model: Model, texts: Texts) -> str:
    """Return the same as plain text, for figures."""
    return "".join(shown(piece, texts) for piece in title(model, texts))


def _baseline(name: str, texts: Texts) -> str:
    if name.endswith(SUFFIX):
        number = name.removesuffix(SUFFIX).removeprefix("trial-")
        return texts.word("model.plain").format(n=number)
    key = f"model.{name}"
    return texts.word(key) if texts.has(key) else name.replace("_", " ")


def metric_title(name: str, texts: Texts, *, unit: bool = False) -> str:
    """Return a metric's name; with its unit, if it has one, where `unit` asks for it."""
    key = f"metric.{name}"
    if not texts.has(key):
        return name.replace("_", " ")
    units = f"metric.{name}.unit"
    if unit and texts.has(units):
        return texts.word("metric.with_unit").format(name=texts.word(key), unit=texts.word(units))
    return texts.word(key)


def knob_title(name: str, texts: Texts) -> Fact:
    """Return the name of a parameter of the search, such as `query_rank` or `depth`."""
    source = f"knob:{name}"
    if texts.has(f"knob.{name}"):
        return Fact(value=texts.word(f"knob.{name}"), source=source)
    for role in sorted(ROLES, key=len, reverse=True):
        what, _, place = name.removeprefix(f"{role}_").partition("_")
        if name.startswith(f"{role}_") and texts.has(f"knob.of_role.{what}"):
            words = texts.word(f"knob.of_role.{what}").format(role=texts.word(f"role.{role}"))
            if place:
                words += f" ({_place(place, texts)})"
            return Fact(value=words, source=source)
    what, _, place = name.rpartition("_")
    if place.isdecimal() and texts.has(f"knob.{what}"):
        return Fact(value=f"{texts.word(f'knob.{what}')} {place}", source=source)
    return Fact(value=name, source=source)


def _place(place: str, texts: Texts) -> str:
    """Ranks may differ between thirds of the blocks, or between blocks."""
    key = f"knob.place.{place}"
    if texts.has(key):
        return texts.word(key)
    return texts.word("structure.layer").format(layers=place)


def value_title(value: str, texts: Texts) -> str:
    """Return a choice of a knob for people: kinds and patterns by their names, numbers as such."""
    key = f"value.{value}"
    return texts.word(key) if texts.has(key) else value


def structure(model: Model, texts: Texts) -> Rich:
    """Return the structure of a model in words, () where it has none."""
    if model.trial is None or "spec" not in model.trial.user_attrs:
        return ()
    spec = AdapterSpec.from_json(model.trial.user_attrs["spec"])
    source = f"trial:{model.trial.number}:spec"
    return (Fact(value=in_words(spec, texts), source=source),)


def in_words(spec: AdapterSpec, texts: Texts) -> str:
    """Return a structure in words, layers counted from 0 as everywhere in Paradapt."""
    data = spec.to_dict()
    parts = [_words("structure.depth", texts, depth=spec.depth)]
    by_layers: dict[tuple[int, ...], list[str]] = {}
    for entry in data["adapters"]:
        by_layers.setdefault(tuple(entry["layers"]), []).append(_adapter(entry, texts))
    comma = texts.word("list.comma")
    for layers, adapters in sorted(by_layers.items()):
        where = _layers(layers, texts)
        parts.append(_words("structure.adapters", texts, where=where, names=comma.join(adapters)))
    for entry in data.get("skips", ()):
        where, share = _layers(tuple(entry["layers"]), texts), f"{entry['token_keep']:.0%}"
        rank = entry["rank"]
        parts.append(_words("structure.skip", texts, where=where, share=share, rank=rank))
    if spec.side is not None:
        read = _numbers(spec.side.boundaries)
        parts.append(_words("structure.side", texts, width=spec.side.width, read=read))
    if spec.head_only:
        parts.append(texts.word("structure.head_only"))
    if spec.exits:
        where = comma.join(map(str, spec.exits))
        parts.append(_words("structure.exits", texts, where=where))
    if spec.pooling != "none":
        pooling = value_title(spec.pooling, texts)
        parts.append(_words("structure.pooling", texts, pooling=pooling))
    return texts.word("list.semicolon").join(parts)


def _adapter(entry: Mapping[str, Any], texts: Texts) -> str:
    kind, role = value_title(entry["kind"], texts), texts.word(f"role.{entry['role']}")
    words = _words("structure.adapter", texts, kind=kind, role=role)
    if "rank" in entry:
        words += _words("structure.rank", texts, rank=entry["rank"])
    if "experts" in entry:
        experts, top_k = entry["experts"], entry["top_k"]
        words += _words("structure.experts", texts, experts=experts, top_k=top_k)
    return words


def _layers(layers: tuple[int, ...], texts: Texts) -> str:
    key = "structure.layers" if len(layers) > 1 else "structure.layer"
    return _words(key, texts, layers=_numbers(layers))


def _numbers(numbers: tuple[int, ...]) -> str:
    if len(numbers) > 1 and numbers == tuple(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}-{numbers[-1]}"
    return ", ".join(map(str, numbers))


def _words(key: str, texts: Texts, **values: object) -> str:
    return texts.word(key).format(**values)
