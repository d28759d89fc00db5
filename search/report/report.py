"""`paradapt report`: a study told to people who decide on it."""

from pathlib import Path

import optuna

from search.report.closing import limits, recommendation, repeat
from search.report.cost_tables import ownership
from search.report.document import Document
from search.report.facts import Fact
from search.report.html import as_html
from search.report.knobs import knobs
from search.report.markdown import as_markdown
from search.report.overview import question, summary
from search.report.results import confirmed, front
from search.report.subject import Subject
from search.report.texts import Language, Rich
from search.store import CONTRACT, load_study
from search.study_file import StudySpec
from space.errors import UserError

_PARTS = (summary, question, front, confirmed, ownership, knobs, recommendation, limits, repeat)


def report_html(
    stored: optuna.Study, study: StudySpec, language: Language, file: str = "study.yaml"
) -> str:
    """Return the report as one HTML page that needs no network.

    Args:
        stored: the study in its storage.
        study: the study file as it is now, prices included.
        language: of all texts.
        file: the study file, as a reader would name it in a command.
    """
    return as_html(_document(Subject.of(stored, study, language, file)), language)


def report_markdown(
    stored: optuna.Study, study: StudySpec, language: Language, file: str = "study.yaml"
) -> str:
    """Return the same as Markdown, tables in place of figures."""
    return as_markdown(_document(Subject.of(stored, study, language, file)), language)


def write_report(study: StudySpec, path: Path, output: Path, form: str, language: Language) -> None:
    """Write the report of a study to a file.

    Args:
        study: the checked study file.
        path: where it is.
        output: the file; replaced where it exists.
        form: `html` or `markdown`.
        language: of all texts.

    Raises:
        UserError: there is no study yet, it was begun with another task or other objectives, or
            the file cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # our own lines say what matters
    stored = load_study(study)
    _check_same(stored, study)
    make = report_html if form == "html" else report_markdown
    try:
        output.write_text(make(stored, study, language, str(path)), encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"--output {output}: cannot be written ({error.strerror}). Give a file in a folder"
            " that exists."
        ) from error


def _check_same(stored: optuna.Study, study: StudySpec) -> None:
    contract = stored.user_attrs.get(CONTRACT, {})
    wanted = {
        "task": study.task,
        "objectives": [dict(objective) for objective in study.objectives],
        "seed": study.seed,
    }
    problems = [
        f"{key}: the study {study.name!r} was begun with {contract[key]}, but the study file now"
        f" says {value}. Take the change back for its report."
        for key, value in wanted.items()
        if key in contract and contract[key] != value
    ]
    if problems:
        raise UserError(problems)


def _document(subject: Subject) -> Document:
    name: Rich = (Fact(value=subject.study.name, source="file:name"),)
    return Document(
        title=subject.texts("title", name=name),
        subtitle=_subtitle(subject),
        sections=tuple(part(subject) for part in _PARTS),
    )


def _subtitle(subject: Subject) -> Rich:
    """Say as of when the report is: the end of the last trial, so that it can be made again."""
    ends = [t.datetime_complete for t in subject.models.trials if t.datetime_complete]
    if not ends:
        return subject.texts("subtitle.empty")
    day = max(ends).strftime("%Y-%m-%d %H:%M")
    return subject.texts("subtitle", date=(Fact(value=day, source="study:last_end"),))
