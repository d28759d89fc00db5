"""What `paradapt migrate` is asked, and what it says; light, as the command line imports it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from space.errors import TrialError

FAILED = 1
"""Exit status where the training failed."""

_OPTIONS = (
    click.argument("bundle", metavar="DIR", type=click.Path(path_type=Path)),
    click.option("--backbone", required=True, help="The new one: a name, a folder, or a model id."),
    click.option(
        "--data",
        "study_file",
        metavar="STUDY.yaml",
        required=True,
        type=click.Path(path_type=Path),
        help="The study whose data and settings are used.",
    ),
    click.option("--output", required=True, type=click.Path(path_type=Path), help="New folder."),
    click.option(
        "--epochs",
        type=click.IntRange(min=0),
        help="To train for; 0: weights are only moved. Default: a quarter of the study's where the"
        " new backbone has the shape of the old one, else all of them.",
    ),
    click.option(
        "--search",
        "n_neighbours",
        type=click.IntRange(min=1),
        metavar="N",
        help="Also train N structures like it, and say whether one is better.",
    ),
)


def migration_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a migration."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def run_migrate(
    study: Any,
    *,
    bundle: Path,
    backbone: str,
    output: Path,
    epochs: int | None,
    n_neighbours: int | None,
) -> int:
    """Migrate a bundle, say what came of it, and return the exit status.

    Args:
        study: the checked study file.
        bundle: folder of the old bundle.
        backbone: the new one.
        output: folder of the new bundle.
        epochs: to train for; None: as many as the case wants.
        n_neighbours: how many structures like it are trained for comparison; None: none.

    Raises:
        UserError: what the user gave is wrong; nothing was trained.
    """
    from search.progress import Progress

    progress = Progress(1 + (n_neighbours or 0), noun="trainings")
    try:
        progress.stage("loading the libraries")
        from search.migrate import migrate
        from search.migration_inputs import Request
        from search.migration_report import in_words

        request = Request(
            folder=bundle,
            backbone=backbone,
            output=output,
            epochs=epochs,
            n_neighbours=n_neighbours or 0,
        )
        account = migrate(study, request, progress)
    except TrialError as error:
        click.echo(f"paradapt: the training failed: {error}. Nothing was written.", err=True)
        return FAILED
    finally:
        progress.close()
    click.echo(f"{in_words(account)}\n\nThe new bundle is in {output}.")
    return 0
