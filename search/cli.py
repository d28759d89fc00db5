"""The command line. Heavy libraries are imported by the command that needs them, so that help
and errors come at once."""

import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import click

import search
import space
import trainers
from search.formats import FORMATS, format_named
from search.migrate_command import migration_options, run_migrate
from space.errors import UserError
from space.redaction import redacted
from trainers.collector import collector_paused

OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

_STUDY = click.argument("study_file", metavar="STUDY.yaml", type=click.Path(path_type=Path))
_SET = click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a key of the file."
)


def _command(function: Callable[..., int | None]) -> Callable[..., None]:
    """Turn what a command returns or raises into an exit status and a message for people."""

    @wraps(function)
    def wrapped(**arguments: Any) -> None:
        try:
            _check_one_place()
            _quiet()
            _share_cores()
            sys.exit(function(**arguments) or OK)
        except UserError as error:
            for problem in error.problems:
                click.echo(f"paradapt: {problem}", err=True)
            sys.exit(WRONG_INPUT)
        except KeyboardInterrupt:
            click.echo("\nparadapt: interrupted.", err=True)
            sys.exit(INTERRUPTED)
        except OSError as error:
            # A full disk, a lost permission: the state is kept, and a traceback helps nobody.
            click.echo(f"paradapt: {redacted(str(error))}. What was done so far is kept.", err=True)
            sys.exit(FAILED)
        except Exception:
            # A fault of ours is told whole, for a report of it, but without passwords.
            click.echo(redacted(traceback.format_exc()), err=True)
            sys.exit(FAILED)

    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="paradapt")
def main() -> None:
    """Search adapter structures for a frozen backbone: accuracy against compute."""


@main.command("search")
@_STUDY
@click.option("--trials", type=click.IntRange(min=1), help="Overrides budget.trials.")
@click.option("--workers", metavar="N|auto", help="Overrides workers.")
@click.option(
    "--dry-run", is_flag=True, help="Only say what would be searched, and what it would take."
)
@_SET
@_command
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
    study = _load(study_file, [*overrides, *extra])
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
@_STUDY
@_SET
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@_command
def status_command(study_file: Path, overrides: Sequence[str], as_json: bool) -> None:
    """Show what a study has so far, also while it runs."""
    # A short command that reads thousands of trials: collecting garbage took a quarter of it.
    with collector_paused():
        study = _load(study_file, overrides)
        from search.status import status_as_json, status_in_words
        from search.store import load_study

        stored = load_study(study)
        if as_json:
            click.echo(json.dumps(status_as_json(stored, study), indent=2))
        else:
            click.echo(status_in_words(stored, study))


@main.command("ui")
@_STUDY
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@_SET
@_command
def ui_command(study_file: Path, port: int, overrides: Sequence[str]) -> None:
    """Open MLflow's pages of a study, on this machine only."""
    study = _load(study_file, overrides)
    from search.ui import serve_ui

    serve_ui(study.tracking, study.name, click.echo, port=port)


@main.command("export")
@_STUDY
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
@_SET
@_command
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
    study = _load(study_file, overrides)
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
@_STUDY
@click.option("--output", required=True, type=click.Path(path_type=Path), help="File to write.")
@click.option(
    "--format", "form", type=click.Choice(["html", "markdown"]), default="html", show_default=True
)
@click.option("--language", type=click.Choice(["en", "ja"]), default="en", show_default=True)
@_SET
@_command
def report_command(
    study_file: Path,
    output: Path,
    form: str,
    language: Literal["en", "ja"],
    overrides: Sequence[str],
) -> None:
    """Write a report to decide on: results, costs, limits."""
    study = _load(study_file, overrides)
    from search.report.report import write_report

    write_report(study, study_file, output, form, language)
    click.echo(f"The report of {study.name!r} is in {output}.")


@main.command("predict")
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
@_command
def predict_command(
    bundle: Path, source: Path, target: Path, form: str | None, text: str | None
) -> None:
    """Label the rows of a file with an exported structure."""
    from trainers.predicting.command import label_file

    label_file(bundle, source, target, text, form)


@main.command("serve")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(1, 65535), default=5001, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Default: this machine only.")
@_command
def serve_command(folder: Path, port: int, host: str) -> None:
    """Answer over HTTP with an exported structure (mlflow or bundle)."""
    from search.serve import serve

    serve(folder, click.echo, port=port, host=host)


@main.command("confirm")
@_STUDY
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
@_SET
@_command
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
    study = _load(study_file, overrides)
    from search.progress import Progress

    progress = Progress(seeds, noun="trainings")
    try:
        progress.stage("loading the libraries")
        from search.confirm import Request, confirm

        request = Request(n_seeds=seeds, choices=choices, full_fine_tuning=full, tfidf=tfidf)
        return confirm(study, study_file, request, progress, click.echo, as_json=as_json)
    finally:
        progress.close()


@main.command("explain")
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
@_SET
@_command
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
    study = None if study_file is None else _load(study_file, overrides)
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


@main.command("migrate")
@migration_options
@_SET
@_command
def migrate_command(study_file: Path, overrides: Sequence[str], **asked: Any) -> int:
    """Put an exported structure on another backbone."""
    return run_migrate(_load(study_file, overrides), **asked)


def _load(study_file: Path, overrides: Sequence[str]) -> Any:
    from search.study_file import load_study_file

    return load_study_file(study_file, overrides)


def _check_one_place() -> None:
    """Refuse to run where a user's own folder `space`, `search` or `trainers` hides ours."""
    places = {
        package.__name__: Path(package.__file__ or "").resolve().parent.parent
        for package in (search, space, trainers)
    }
    if len(set(places.values())) > 1:
        found = ", ".join(f"{name} in {place}" for name, place in places.items())
        raise UserError(
            f"The packages search, space and trainers come from different places ({found}): a"
            " folder of yours has the name of one of them. Run the command from another folder."
        )


def _share_cores() -> None:
    """Let torch's threads sleep while they wait for each other, before torch is loaded.

    By default they spin. Where another process wants a core too, a training step then takes three
    to four times as long (measured on two cores, one of them busy: 14 to 27 samples/s, and 54 to
    77 asleep).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _quiet() -> None:
    """Keep the libraries' own chatter off the user's terminal; our messages say what matters."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    for name in ("optuna", "lightning.pytorch", "lightning.fabric", "alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
