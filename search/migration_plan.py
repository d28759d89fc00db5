"""All that a migration needs, read, checked and mapped before anything is trained."""

from dataclasses import dataclass
from pathlib import Path

from search.context import StudyContext, prepare
from search.migration_inputs import (
    Parent,
    Request,
    check_labels,
    check_study,
    learning_of,
    read_parent,
)
from search.neighbourhood import space_on
from search.progress import Progress
from search.study_file import StudySpec
from search.study_sections import Space
from space.errors import UserError
from space.search_space import Learning, SearchSpace
from trainers.folder import check_free
from trainers.migration import Mapped, map_structure
from trainers.outline import SAME, Outline, relation

REFIT_SHARE = 0.25
"""Of the study's epochs, for which moved weights are refitted by default."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Move:
    """A migration, with all that is known of it before anything is trained."""

    parent: Parent
    study: StudySpec
    """As the user gave it."""
    now: StudyContext
    """The study on the new backbone."""
    old: StudyContext | None
    """The study on the old one; None where that is gone."""
    gone: str
    """Why; "" where it is there."""
    former: Outline
    """Of the old backbone."""
    outline: Outline
    """Of the new one."""
    relation: str
    mapped: Mapped
    changed: tuple[str, ...]
    learning: Learning
    epochs: int
    space: SearchSpace | None
    """The study's space on the new backbone, where its neighbours are searched."""


def plan(study: StudySpec, request: Request, artifacts: str, progress: Progress) -> Move:
    """Read and check all that a migration needs.

    Args:
        study: the checked study file.
        request: what the user asks for.
        artifacts: a folder for weights.
        progress: shows what is being done.

    Raises:
        UserError: bundle, backbone and data do not go together, or the output is in use.
    """
    check_free(request.output)
    parent = read_parent(request.folder)
    check_study(parent, study)
    now = context_on(study, request.placed, artifacts, progress)
    if now.backbone.fingerprint == parent.config.backbone_fingerprint:
        raise UserError(
            f"--backbone {request.backbone}: it is the backbone that {parent.folder} stands on"
            f" (fingerprint {now.backbone.fingerprint[:12]}...), so that there is nothing to"
            " migrate."
        )
    check_labels(parent, now)
    for notice in now.data.notices:
        progress.write(f"note: {notice}")
    progress.stage("looking for the old backbone")
    old, gone = old_context(parent, study, now, artifacts, progress)
    former, outline = former_outline(parent, old), Outline.of(now.backbone)
    try:
        mapped = map_structure(parent.config.spec, former, now.backbone.shape)
    except ValueError as error:
        raise UserError(f"{parent.folder}: {error}") from error
    related = relation(former, outline)
    changed = mapped.changed
    if study.data.max_length != parent.config.max_length and now.backbone.image is None:
        changed += (
            f"data.max_length: texts are cut at {study.data.max_length} tokens in place of"
            f" {parent.config.max_length}",
        )
    space = None
    if request.n_neighbours:
        space = space_on(study, former, now.backbone.shape, now.cost.head)
    return Move(
        parent=parent,
        study=study,
        now=now,
        old=old,
        gone=gone,
        former=former,
        outline=outline,
        relation=related,
        mapped=mapped,
        changed=changed,
        learning=learning_of(parent, mapped.spec),
        epochs=_epochs(request, study, related),
        space=space,
    )


def _epochs(request: Request, study: StudySpec, related: str) -> int:
    """Return for how many epochs the structure is trained on the new backbone."""
    if request.epochs is None:
        own = study.budget.epochs
        return max(1, round(REFIT_SHARE * own)) if related == SAME else own
    if request.epochs == 0 and related != SAME:
        raise UserError(
            "--epochs 0: only moves weights, but the new backbone is of another shape or family,"
            " so that the structure has to be trained on it. Leave --epochs out."
        )
    return request.epochs


def context_on(study: StudySpec, backbone: str, artifacts: str, progress: Progress) -> StudyContext:
    """Load a study's data for a backbone, whatever its own space holds.

    Args:
        study: the checked study file.
        backbone: as load_backbone takes it, from the working directory.
        artifacts: where weights go.
        progress: shows what is being done.

    Raises:
        UserError: the backbone or the data are wrong.
    """
    own = {"backbone": backbone, "space": Space(), "pruner": "none", "artifacts": artifacts}
    return prepare(study.model_copy(update=own), Path.cwd(), progress.stage, progress.write)


def old_context(
    parent: Parent, study: StudySpec, now: StudyContext, artifacts: str, progress: Progress
) -> tuple[StudyContext | None, str]:
    """Return the study on the old backbone; or None, and why it is not to be had any more.

    Args:
        parent: the old bundle.
        study: the checked study file.
        now: the study on the new backbone.
        artifacts: where weights go.
        progress: shows what is being done.
    """
    gone = f"the old backbone {parent.backbone!r} "
    if parent.backbone == now.study.backbone:
        return None, gone + "was overwritten by the new one"
    data = study.data.model_copy(update={"max_length": parent.config.max_length})
    try:
        context = context_on(
            study.model_copy(update={"data": data}), parent.backbone, artifacts, progress
        )
    except UserError as error:
        return None, f"{gone}cannot be loaded ({' '.join(error.problems).rstrip('.')})"
    if context.backbone.fingerprint != parent.config.backbone_fingerprint:
        return None, gone + "is another one by now"
    return context, ""


def former_outline(parent: Parent, old: StudyContext | None) -> Outline:
    """Return what the old backbone was like: as it is there, or as the bundle tells.

    Raises:
        UserError: neither says.
    """
    if old is not None:
        return Outline.of(old.backbone)
    try:
        return Outline.from_dict(parent.config.provenance.get("backbone_shape"))
    except ValueError as error:
        raise UserError(
            f"{parent.folder}: its backbone {parent.backbone!r} is not there any more, and the"
            f" bundle does not say how many blocks it had (provenance.backbone_shape: {error})."
            " Put the old backbone back to where it was."
        ) from error
