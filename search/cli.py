"""The command line. Heavy libraries are imported by the command that needs them, so that help
and errors come at once."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click

from search.bundle_commands import BUNDLE_COMMANDS
from search.command import OK, SET, STUDY, checked_study, command
from search.formats import FORMATS, format_named
from trainers.collector import collector_paused


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="paradapt")
def main() -> None:
    """Search adapter structures for a frozen backbone: accuracy against compute."""


@main.command("search")
@STUDY
@click.option("--trials", type=click.IntRange(min=1), help="Overrides budget.trials.")
@click.option("--workers", metavar="N|auto", help="Overrides workers.")
@click.option(
    "--dry-run", is_flag=True, help="Only say what would be searched, and what it would take."
)
@SET
@command
def search_command(
    study_file: Path,
    trials: int | None,
    workers: str | None,
    dry_run: bool,
    overrides: Sequence[str],
) -> int:
    """Run a study, or go on with it."""
    numbers = {"budget.trials": trials, "workers": workers}
    extra = [f"{key}={value}" for key, value in numbers.items() if value is not None]
    study = checked_study(study_file, [*overrides, *extra])
    from search.progress import Progress

    progress = Progress(study.budget.trials)
    try:
        progress.stage("loading the libraries")
        if dry_run:
            from search.dry_run import dry_run as run_dry

            run_dry(study, study_file, progress.stage, click.echo)
            return OK
        from search.run import search as run_search

        return run_search(study, study_file, progress, click.echo)
    finally:
        progress.close()


@main.command("status")
@STUDY
@SET
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@command
def status_command(study_file: Path, overrides: Sequence[str], as_json: bool) -> None:
    """Show what a study has so far, also while it runs."""
    # A short command that reads thousands of trials: collecting garbage took a quarter of it.
    with collector_paused():
        study = checked_study(study_file, overrides)
        from search.status import status_as_json, status_in_words
        from search.store import load_study

        stored = load_study(study)
        if as_json:
            click.echo(json.dumps(status_as_json(stored, study), indent=2))
        else:
            click.echo(status_in_words(stored, study))


@main.command("ui")
@STUDY
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@SET
@command
def ui_command(study_file: Path, port: int, overrides: Sequence[str]) -> None:
    """Open MLflow's pages of a study, on this machine only."""
    study = checked_study(study_file, overrides)
    from search.ui import serve_ui

    serve_ui(study.tracking, study.name, click.echo, port=port)


@main.command("export")
@STUDY
@click.option(
    "--select",
    "choice",
    required=True,
    metavar="POINT",
    help="knee, the name of an objective, trial:N, or a bound such as 'inference_gflops<=0.2';"
    " or front: every point of it, each in a folder of its own, with an index.",
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="New folder.")
@click.option(
    "--format", "form", type=click.Choice(list(FORMATS)), default="bundle", show_default=True
)
@click.option("--int8", is_flag=True, help="onnx, openvino: linear layers in eight bits.")
@click.option("--offline", is_flag=True, help="With the backbone's weights and tokenizer.")
@click.option("--register", metavar="NAME", help="mlflow: as the champion of this name.")
@SET
@command
def export_command(
    study_file: Path,
    choice: str,
    output: Path,
    form: str,
    int8: bool,
    offline: bool,
    register: str | None,
    overrides: Sequence[str],
) -> None:
    """Write a point of the front, or all of them, trained, to a folder."""
    study = checked_study(study_file, overrides)
    from search.export import export_study
    from search.export_front import FRONT, export_front
    from trainers.export.format import Options

    options = Options(int8=int8, offline=offline, register=register)
    if choice.strip() == FRONT:
        index = export_front(
            study,
            study_file,
            output,
            format_named(form),
            options,
            lambda t: click.echo(t, err=True),
        )
        click.echo(f"{len(index.exported)} of {len(index.points)} points are in {output}.")
        return
    trial, structure = export_study(
        study,
        study_file,
        choice,
        output,
        format_named(form),
        options,
        tell=lambda text: click.echo(f"note: {text}", err=True),
    )
    click.echo(f"Trial {trial} ({structure}) is in {output}.")


@main.command("report")
@STUDY
@click.option("--output", required=True, type=click.Path(path_type=Path), help="File to write.")
@click.option(
    "--format", "form", type=click.Choice(["html", "markdown"]), default="html", show_default=True
)
@click.option("--language", type=click.Choice(["en", "ja"]), default="en", show_default=True)
@SET
@command
def report_command(
    study_file: Path,
    output: Path,
    form: str,
    language: Literal["en", "ja"],
    overrides: Sequence[str],
) -> None:
    """Write a report to decide on: results, costs, limits."""
    study = checked_study(study_file, overrides)
    from search.report.report import write_report

    write_report(study, study_file, output, form, language)
    click.echo(f"The report of {study.name!r} is in {output}.")


@main.command("confirm")
@STUDY
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--select",
    "choices",
    metavar="POINT",
    multiple=True,
    help="As in export, also several times; default: knee, the best in the first objective, and"
    " the cheapest that is nearly as good.",
)
@click.option(
    "--full-fine-tuning/--no-full-fine-tuning",
    "full",
    default=True,
    help="Also train every weight of the backbone, as a reference.",
)
@click.option(
    "--tfidf/--no-tfidf",
    default=True,
    help="Also TF-IDF with logistic regression (texts with one label each).",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@SET
@command
def confirm_command(
    study_file: Path,
    seeds: int,
    choices: Sequence[str],
    full: bool,
    tfidf: bool,
    as_json: bool,
    overrides: Sequence[str],
) -> int:
    """Train chosen points anew and score them on the sealed test split."""
    study = checked_study(study_file, overrides)
    from search.progress import Progress

    progress = Progress(seeds, noun="trainings")
    try:
        progress.stage("loading the libraries")
        from search.confirm import Request, confirm

        request = Request(n_seeds=seeds, choices=choices, full_fine_tuning=full, tfidf=tfidf)
        return confirm(study, study_file, request, progress, click.echo, as_json=as_json)
    finally:
        progress.close()


for bundle_command in BUNDLE_COMMANDS:
    main.add_command(bundle_command)
