"""The tables of the replays, in Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from studies.benchmarks.scores import Mean, Outcome, by_seed, p_of_difference

if TYPE_CHECKING:
    from studies.benchmarks.replay import Row

BEGIN, END = "<!-- replays: begin -->", "<!-- replays: end -->"
EARLY = 0.4
"""Of the unpruned study's FLOPs: where pruned ones are looked at as well."""
RUNGS = {"1 epoch": 1 / 3, "1/3 of an epoch": 1 / 9}
"""First rungs, as shares of a training of 3 epochs."""

PRUNER_HEAD = [
    "sampler, pruner",
    "seeds",
    "share of the FLOPs to reach the unpruned study's end",
    "reached by",
    "gain with all of the FLOPs",
    f"gain with {EARLY:.0%} of them",
    "the same with the other training seed",
    "trainings, of these pruned",
    "share of the FLOPs after as many trainings",
    "gain after as many",
]
"""Headings of a row that is read against another one without a pruner."""

Found = Mapping["Row", Mapping[str, list[Outcome]]]
"""For each row, for each data set, its replays by their seed."""
Lists = list[list[Outcome]]
"""The same of one row."""


def tables(found: Found) -> str:
    """Return all tables of some rows; a comparison whose rows are not there is left out."""
    parts = [_samplers(found), _pruners(found), _halvings(found), _started(found)]
    return "\n\n".join(part for part in parts if part)


def _samplers(found: Found) -> str:
    """The samplers without a pruner, each against random."""
    rows = [row for row in found if row.pruner == "none"]
    lines = []
    for row in rows:
        other = next((r for r in rows if r.sampler == "random"), None)
        lines.append(
            [
                _name(row),
                str(row.n_seeds),
                _shown(_final(found, row)),
                _shown(_final(found, row, checked=True)),
                _against(found, row, other),
                _shown(_until_last_gain(_lists(found, row))),
                *(_shown(_with_foresight(_lists(found, row), rung)) for rung in RUNGS.values()),
            ]
        )
    head = [
        "sampler",
        "seeds",
        "hypervolume",
        "with the other training seed",
        "minus random (p)",
        "share of its FLOPs until its last gain",
        *(f"the same with foresight after {name}" for name in RUNGS),
    ]
    return "Samplers, nothing pruned:\n\n" + _markdown(head, lines) if lines else ""


def _pruners(found: Found) -> str:
    """Every pruner against the same sampler without one."""
    lines = [
        _pruner_line(row, _lists(found, row), _lists(found, row.unpruned, row.n_seeds))
        for row in found
        if row.pruner != "none" and row.unpruned in found
    ]
    title = "Pruners, against the same sampler and seeds without:\n\n"
    return title + _markdown(PRUNER_HEAD, lines) if lines else ""


def _pruner_line(row: "Row", own: Lists, base: Lists) -> list[str]:
    pairs = [
        pair
        for ours, theirs in zip(own, base, strict=True)
        for pair in zip(ours, theirs, strict=True)
    ]
    n_trainings = sum(len(ours.gflops) for ours, _ in pairs) / len(pairs)
    n_pruned = sum(ours.n_pruned for ours, _ in pairs) / len(pairs)
    return [
        _name(row),
        str(row.n_seeds),
        _shown(by_seed(own, lambda data, seed: own[data][seed].share_to_reach(base[data][seed]))),
        f"{sum(ours.reaches(theirs) for ours, theirs in pairs)} of {len(pairs)}",
        _gain(own, base, 1.0, checked=False),
        _gain(own, base, EARLY, checked=False),
        _gain(own, base, EARLY, checked=True),
        f"{n_trainings:.0f}, {n_pruned:.0f}",
        *_as_many(own, base),
    ]


def _as_many(own: Lists, base: Lists) -> tuple[str, str]:
    """What was spent, and gained, when as many trainings had begun as the unpruned study had."""

    def share(data: int, seed: int) -> float:
        ours, theirs = own[data][seed], base[data][seed]
        return ours.gflops[_last(ours, theirs)] / theirs.gflops[-1]

    def gain(data: int, seed: int) -> float:
        ours, theirs = own[data][seed], base[data][seed]
        return ours.searched[_last(ours, theirs)] - theirs.end()

    return _shown(by_seed(own, share)), _shown(by_seed(own, gain))


def _last(ours: Outcome, theirs: Outcome) -> int:
    return min(len(ours.gflops), len(theirs.gflops)) - 1


def _halvings(found: Found) -> str:
    """Pareto-halving against accuracy-halving with the same settings."""
    lines = []
    for row in found:
        other = next((r for r in found if _is_counterpart(r, row)), None)
        if row.pruner != "pareto-halving" or other is None or row.unpruned not in found:
            continue
        n = min(row.n_seeds, other.n_seeds)
        parts = [_lists(found, each, n) for each in (row, other, row.unpruned)]
        cells = [
            _difference(*parts, share, checked=checked)
            for checked in (False, True)
            for share in (EARLY, 1.0)
        ]
        lines.append([_name(row), str(row.n_seeds), *cells])
    head = [
        "sampler, settings",
        "seeds",
        f"with {EARLY:.0%} of the FLOPs",
        "with all",
        f"other training seed, {EARLY:.0%}",
        "other training seed, all",
    ]
    title = "Pareto-halving minus accuracy-halving (p of Wilcoxon's test):\n\n"
    return title + _markdown(head, lines) if lines else ""


def _started(found: Found) -> str:
    """What begins with starting points against the same sampler with neither them nor a pruner."""
    lines = []
    for row in found:
        other = replace(row.unpruned, started=False)
        if row.started and other in found:
            own, base = _lists(found, row), _lists(found, other, row.n_seeds)
            lines.append(_pruner_line(row, own, base))
    title = "Starting points, against the same sampler and seeds without them and without a pruner:"
    return f"{title}\n\n" + _markdown(PRUNER_HEAD, lines) if lines else ""


def _is_counterpart(one: "Row", other: "Row") -> bool:
    """Whether a row is accuracy-halving, and like the other else."""
    return one == replace(other, pruner="accuracy-halving")


def _lists(found: Found, row: "Row", n_seeds: int | None = None) -> Lists:
    return [outcomes[:n_seeds] for outcomes in found[row].values()]


def _final(found: Found, row: "Row", *, checked: bool = False) -> list[float]:
    own = _lists(found, row)
    return by_seed(own, lambda data, seed: own[data][seed].end(checked=checked))


def _until_last_gain(own: Lists) -> list[float]:
    return by_seed(own, lambda data, seed: own[data][seed].share_to_reach(own[data][seed]))


def _with_foresight(own: Lists, rung: float) -> list[float]:
    return by_seed(own, lambda data, seed: own[data][seed].share_with_foresight(rung))


def _against(found: Found, row: "Row", other: "Row | None") -> str:
    if other is None or other == row:
        return ""
    ours, theirs = _final(found, row), _final(found, other)[: row.n_seeds]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    return f"{_shown(differences)} (p {p_of_difference(ours, theirs):.2g})"


def _gain(own: Lists, base: Lists, share: float, *, checked: bool) -> str:
    """The hypervolume with a share of the unpruned study's FLOPs, minus the latter's at its end."""
    return _shown(
        by_seed(
            own,
            lambda data, seed: (
                _at(own[data][seed], base[data][seed], share, checked)
                - base[data][seed].end(checked=checked)
            ),
        )
    )


def _difference(ours: Lists, theirs: Lists, base: Lists, share: float, *, checked: bool) -> str:
    def at(own: Lists) -> list[float]:
        return by_seed(
            own, lambda data, seed: _at(own[data][seed], base[data][seed], share, checked)
        )

    one, other = at(ours), at(theirs)
    differences = [a - b for a, b in zip(one, other, strict=True)]
    return f"{_shown(differences)} (p {p_of_difference(one, other):.2g})"


def _at(own: Outcome, base: Outcome, share: float, checked: bool) -> float:
    return own.at(share * base.gflops[-1], checked=checked)


def _name(row: "Row") -> str:
    words = [row.sampler]
    if row.started:
        words.append("with starting points")
    if row.pruner != "none":
        words.append(row.pruner)
        if not row.with_loss:
            words.append("by the objectives alone")
    words += [f"{name} {value:.3g}" for name, value in row.settings.items()]
    return ", ".join(words)


def _shown(values: Sequence[float]) -> str:
    mean = Mean.of(values)
    return f"{mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}]"


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def write_between_markers(path: Path, text: str) -> None:
    """Put a text between the two markers of a file.

    Raises:
        ValueError: the file has not both markers, once each.
    """
    whole = path.read_text(encoding="utf-8")
    if whole.count(BEGIN) != 1 or whole.count(END) != 1:
        raise ValueError(f"{path}: needs `{BEGIN}` and `{END}`, once each.")
    before, _, rest = whole.partition(BEGIN)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
