"""Export every point of the front at once, each to a folder of its own, with an index over them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search.context import prepare
from search.export import source_of_trial
from search.front import knee, pareto_front, structure
from search.front_index import INDEX, ExportedPoint, FrontIndex, index_html, index_markdown
from search.ranking import losses_of
from search.store import check_contract, load_study
from search.study_file import StudySpec
from space.errors import UserError
from trainers.bundle import CARD
from trainers.export.format import Format, Options, Source
from trainers.export.writing import check_expressible, write_export
from trainers.folder import check_free, new_folder

FRONT = "front"
"""What `--select` calls it."""


def export_front(
    study: StudySpec,
    path: Path,
    folder: Path,
    form: Format,
    options: Options,
    tell: Callable[[str], None],
) -> FrontIndex:
    """Write every point of the front that a format can express, whole or not at all.

    Each goes to a subfolder named by its trial and what it is, such as `trial-20-knee`. index.html
    and README.md tell what they are, and why points are not among them.

    Args:
        study: the checked study file.
        path: where the study file is.
        folder: new, or empty.
        form: the format.
        options: what else the user asked of it.
        tell: is told, in a sentence, how it gets on.

    Returns:
        What the index tells.

    Raises:
        UserError: there is no front yet, no point of it can be expressed, the study's backbone or
            data changed, weights are gone, an export fails, or the folder is in use.
    """
    check_free(folder)
    if options.register is not None:
        raise UserError("--register: a name is of one point; export it with its own --select.")
    stored = load_study(study)
    front = pareto_front(stored.get_trials(deepcopy=False), stored.directions)
    if not front:
        raise UserError(f"The study has no complete trial yet, so `{FRONT}` selects nothing.")
    context = prepare(study, path.resolve().parent, stage=lambda _: None)
    check_contract(stored, context)
    titles = titles_of(front, stored.directions, study.objective_names)
    points: list[ExportedPoint] = []
    with new_folder(folder) as partial:
        for place, trial in enumerate(front, 1):
            source = source_of_trial(context, stored, trial, FRONT)
            point = _point(trial, titles[trial.number], source, form, options, partial)
            points.append(point)
            told = point.refused or f"written to {point.name}"
            tell(f"{place} of {len(front)}, trial {trial.number}: {told}")
        if all(point.refused for point in points):
            raise UserError([f"trial {point.number}: {point.refused}" for point in points])
        index = FrontIndex(
            study=study.name,
            task=study.task,
            backbone=Path(study.backbone).name,
            form=form.name,
            names=study.objective_names,
            directions=tuple(stored.directions),
            points=tuple(points),
        )
        (partial / INDEX).write_text(index_html(index), encoding="utf-8")
        (partial / CARD).write_text(index_markdown(index), encoding="utf-8")
    return index


def _point(
    trial: FrozenTrial,
    titles: Sequence[str],
    source: Source,
    form: Format,
    options: Options,
    folder: Path,
) -> ExportedPoint:
    """Write a point, or find out why it cannot be expressed."""
    refused, proof = None, {}
    words = [title.replace(" ", "-") for title in titles]
    name = "-".join(["trial", str(trial.number), *words])
    try:
        check_expressible(form, source, options)
    except UserError as error:
        refused = str(error)
    else:
        proof = write_export(form, source, folder / name, options)
    return ExportedPoint(
        number=trial.number,
        name=name,
        titles=tuple(titles),
        values=tuple(trial.values),
        structure=structure(trial),
        proof=proof,
        refused=refused,
    )


def titles_of(
    front: Sequence[FrozenTrial], directions: Sequence[StudyDirection], names: Sequence[str]
) -> dict[int, list[str]]:
    """Return, for each trial of a front, what it is: knee, best in an objective, a baseline."""
    titles: dict[int, list[str]] = {trial.number: [] for trial in front}
    titles[knee(front, directions).number].append("knee")
    for place, name in enumerate(names):

        def rank(trial: FrozenTrial, place: int = place) -> tuple[float, ...]:
            losses = losses_of(trial.values, directions)
            return (losses[place], *losses, trial.number)

        titles[min(front, key=rank).number].append(f"best {name.replace('_', ' ')}")
    for trial in front:
        baseline = trial.user_attrs.get("baseline")
        if baseline is not None:
            titles[trial.number].append(f"baseline {baseline.replace('_', ' ')}")
    return titles
