"""The bundle that a migration writes: like any export's, with its lineage and its account."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import create_trial

from search.export import source_of_trial
from search.migration_plan import Move
from search.migration_report import Account, in_markdown
from search.store import CONTRACT, contract_of, redacted
from trainers.export.bundle import Bundle
from trainers.export.format import Answer, Options, Source, Written
from trainers.export.writing import write_export
from trainers.model import AdaptedModel
from trainers.weights import save_weights

ACCOUNT = "migration.json"
LINEAGE = "lineage"
"""Key of a bundle's provenance: the bundles that it came from, the oldest first."""


def write_migrated(
    move: Move,
    model: AdaptedModel,
    metrics: Mapping[str, float],
    attributes: Mapping[str, Any],
    account: Account,
    folder: Path,
) -> None:
    """Write the new bundle, with its proof.

    Args:
        move: the migration.
        model: on the new backbone.
        metrics: of that model.
        attributes: what a trial keeps besides.
        account: of the migration.
        folder: new, or empty.

    Raises:
        UserError: it answers otherwise than the model, or cannot be written.
    """
    source = _source(move, model, metrics, attributes)
    config = source.bundle.config
    _, _, rest = source.card.partition("\n")
    trial = move.parent.config.provenance.get("trial")
    known = f", trial {trial}" if isinstance(trial, int) else ""
    source = replace(
        source,
        bundle=replace(
            source.bundle, config=replace(config, provenance=_provenance(move, config.provenance))
        ),
        card=f"# {move.study.name}{known}, migrated\n{rest}{in_markdown(account)}",
    )
    write_export(_WithAccount(account), source, folder, Options())


def _source(
    move: Move,
    model: AdaptedModel,
    metrics: Mapping[str, float],
    attributes: Mapping[str, Any],
) -> Source:
    """Return the migrated structure as the trial of a study in memory is exported."""
    context = move.now
    save_weights(model, context.weights_folder, 0)
    learning = {
        "learning_rate": move.learning.learning_rate,
        "head_learning_rate": move.learning.head_learning_rate,
    }
    own = {"spec": move.mapped.spec.to_json(), "learning": learning, "metrics": dict(metrics)}
    directions = [StudyDirection[way.upper()] for way in context.study.directions]
    stored = optuna.create_study(directions=directions)
    stored.set_user_attr(CONTRACT, contract_of(context))
    stored.add_trial(
        create_trial(
            values=[metrics[name] for name in context.study.objective_names],
            user_attrs={**own, **attributes, "end": "complete"},
        )
    )
    return source_of_trial(context, stored, stored.trials[0], "migrate")


def _provenance(move: Move, made: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the bundle came to be: by this migration, and before."""
    parent = move.parent
    earlier = parent.config.provenance.get(LINEAGE, [])
    ancestors = earlier if isinstance(earlier, list) else []
    origin = {k: v for k, v in parent.config.provenance.items() if k != LINEAGE}
    study = move.study.model_copy(update={"backbone": move.now.study.backbone})
    # The contract is that of a study on the new backbone's default space, which nobody searched.
    kept = {k: v for k, v in made.items() if k != "contract"}
    return {
        **kept,
        "trial": origin.get("trial"),
        "epochs": move.epochs,
        "study_file": redacted(study).to_yaml(),
        LINEAGE: [
            *ancestors,
            {
                "sha256sums": parent.sha256,
                "backbone": parent.config.backbone,
                "backbone_fingerprint": parent.config.backbone_fingerprint,
                "moved_to_fingerprint": move.now.backbone.fingerprint,
                "relation": move.relation,
                "structure": parent.config.spec.describe(),
                "provenance": origin,
            },
        ],
    }


class _WithAccount:
    """The format `bundle`, with the account of the migration beside it.

    Args:
        account: of the migration.
    """

    def __init__(self, account: Account) -> None:
        self._bundle = Bundle()
        self._account = account
        self.name = self._bundle.name
        self.options = self._bundle.options

    def refusal(self, source: Source, options: Options) -> str | None:
        return self._bundle.refusal(source, options)

    def write(self, source: Source, folder: Path, options: Options) -> Written:
        text = json.dumps(self._account.to_dict(), indent=2) + "\n"
        (folder / ACCOUNT).write_text(text, encoding="utf-8")
        return self._bundle.write(source, folder, options)

    def opened(self, source: Source, folder: Path) -> Answer:
        return self._bundle.opened(source, folder)

    def tolerance(self, options: Options) -> float | None:
        return self._bundle.tolerance(options)
