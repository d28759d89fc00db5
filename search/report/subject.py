"""What a report is about: one study as it stands, and the language to tell it in."""

from dataclasses import dataclass

import optuna

from search.report.document import Paragraph
from search.report.facts import Fact
from search.report.models import Models, gather
from search.report.naming import metric_title
from search.report.texts import Code, Language, Rich, Texts
from search.report.verdict import Verdict, judge
from search.study_file import StudySpec


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A study, what it comes to, and how to speak of it."""

    stored: optuna.Study
    study: StudySpec
    models: Models
    verdict: Verdict
    texts: Texts
    file: str
    """The study file, as a reader would name it in a command."""

    @classmethod
    def of(cls, stored: optuna.Study, study: StudySpec, language: Language, file: str) -> "Subject":
        """Read a study from its storage."""
        models = gather(stored, study.objective_names)
        return cls(
            stored=stored,
            study=study,
            models=models,
            verdict=judge(models),
            texts=Texts(language),
            file=file,
        )

    def command(self, words: str) -> Code:
        """Return a command on this study, such as `search` or `confirm STUDY --seeds 3`."""
        name, _, rest = words.partition(" ")
        return Code(" ".join(filter(None, ("paradapt", name, self.file, rest))))

    def missing(self, key: str, words: str, **values: Rich) -> Paragraph:
        """Return a paragraph that says what is not there, and the command that would give it."""
        return Paragraph(
            text=self.texts(key, command=self.command(words), **values), tone="missing"
        )

    def cell(self, fact: Fact | None) -> Rich:
        """Return a fact for a table, a dash where it is not known."""
        return self.texts("cell.none") if fact is None else (fact,)

    def metric(self, name: str, *, unit: bool = False) -> Rich:
        """Return what a metric is called."""
        return (metric_title(name, self.texts, unit=unit),)
