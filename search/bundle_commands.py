"""The commands on an exported structure: predict, serve, explain, migrate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from search.command import SET, checked_study, command
from search.migrate_command import migration_options, run_migrate
from space.errors import UserError


@click.command("predict")
@click.argument("bundle", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--input", "source", required=True, type=click.Path(path_type=Path))
@click.option("--output", "target", required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl", "parquet"]),
    help="Default: by the suffix of the output, else csv.",
)
@click.option("--text", help="Column of the texts, where it is not the study's.")
@command
def predict_command(
    bundle: Path, source: Path, target: Path, form: str | None, text: str | None
) -> None:
    """Label the rows of a file with an exported structure."""
    from trainers.predicting.command import label_file

    label_file(bundle, source, target, text, form)


@click.command("serve")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(1, 65535), default=5001, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Default: this machine only.")
@command
def serve_command(folder: Path, port: int, host: str) -> None:
    """Answer over HTTP with an exported structure (mlflow or bundle)."""
    from search.serve import serve

    serve(folder, click.echo, port=port, host=host)


@click.command("explain")
@click.argument("bundle", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Rows with labels.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="New .html file.")
@click.option("--rows", type=click.IntRange(min=1), help="At most so many: a seeded sample.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--study",
    "study_file",
    metavar="STUDY.yaml",
    type=click.Path(path_type=Path),
    help="Also log the page to MLflow, in this study's run.",
)
@SET
@command
def explain_command(
    bundle: Path,
    data: Path,
    output: Path,
    rows: int | None,
    seed: int,
    study_file: Path | None,
    overrides: Sequence[str],
) -> None:
    """Explain an exported structure on rows with labels."""
    if overrides and study_file is None:
        raise UserError("--set: overrides keys of a study file; name it with --study.")
    study = None if study_file is None else checked_study(study_file, overrides)
    from search.explain_progress import ExplainProgress

    with ExplainProgress() as progress:
        progress.told("loading the libraries", 0, 1)
        from search.explaining import explain_bundle

        found = explain_bundle(
            bundle,
            data,
            output,
            n_rows=rows,
            seed=seed,
            study=study,
            told=progress.told,
            say=progress.say,
        )
    click.echo(f"{len(found.rows)} rows are explained in {output} ({found.seconds:.0f} s).")


@click.command("migrate")
@migration_options
@SET
@command
def migrate_command(study_file: Path, overrides: Sequence[str], **asked: Any) -> int:
    """Put an exported structure on another backbone."""
    return run_migrate(checked_study(study_file, overrides), **asked)


BUNDLE_COMMANDS = (predict_command, serve_command, explain_command, migrate_command)
"""All of them."""
