"""`paradapt explain`: a bundle and rows with labels in, one page out, also in MLflow."""

from collections.abc import Callable
from pathlib import Path

from search.explanation import explanation_html
from search.mlflow_client import find_experiment, find_study_run, new_client
from search.study_file import StudySpec
from space.errors import UserError
from space.redaction import redacted
from trainers.bundle import load, read_config
from trainers.explain import Explanation, explain, explained_rows

ARTIFACT = "explain.html"
"""Of the study's parent run."""

Told = Callable[[str, float, float], None]


def explain_bundle(
    folder: Path,
    data: Path,
    output: Path,
    *,
    n_rows: int | None,
    seed: int,
    study: StudySpec | None,
    told: Told,
    say: Callable[[str], None],
) -> Explanation:
    """Write the page that explains a bundle.

    Args:
        folder: of the bundle.
        data: rows with labels.
        output: the page; must not exist.
        n_rows: at most so many rows, a seeded sample; None: all.
        seed: of the sample.
        study: the study of the bundle, in whose parent run the page is logged too; None: nowhere.
        told: is told how it gets on.
        say: is told in sentences what the user should know beside the way.

    Raises:
        UserError: the bundle, the rows or the output are wrong, or the bundle is of another study.
    """
    _check_output(output)
    if study is not None:
        _check_study(folder, study)
    told("loading the bundle", 0, 1)
    bundle = load(folder)
    told("reading the rows", 0, 1)
    rows = explained_rows(bundle, data, n_rows=n_rows, seed=seed)
    for notice in rows.notices:
        say(f"note: {notice}")
    found = explain(bundle, rows, told)
    page = explanation_html(found, str(data))
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error}).") from error
    if study is not None:
        say(_logged(study, page))
    return found


def _check_output(output: Path) -> None:
    if output.exists():
        raise UserError(f"--output {output}: exists already; nothing is overwritten. Name another.")
    if not output.parent.is_dir():
        raise UserError(f"--output {output}: there is no folder {output.parent}.")
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output {output}: is a page; its name must end in .html.")


def _check_study(folder: Path, study: StudySpec) -> None:
    own = read_config(folder).provenance.get("study")
    if own != study.name:
        raise UserError(
            f"--study: the bundle {folder} is of the study {own!r}, not of {study.name!r}."
        )


def _logged(study: StudySpec, page: str) -> str:
    """Log the page as an artifact of the study's parent run; return what came of it."""
    # Imported here: with its client, MLflow takes seconds.
    from mlflow.exceptions import MlflowException

    try:
        client = new_client(study.tracking)
        experiment = find_experiment(client, study.name)
        run = experiment and find_study_run(client, experiment.experiment_id, study.name)
        if not run:
            return (
                "note: MLflow has no run of this study yet, so that the page is not logged there;"
                " `paradapt search` brings MLflow up to date."
            )
        client.log_text(run.info.run_id, page, ARTIFACT)
    except (MlflowException, OSError) as error:
        return f"note: not logged to MLflow: {redacted(str(error))}"
    return f"In MLflow it is the artifact {ARTIFACT} of the study's run."
