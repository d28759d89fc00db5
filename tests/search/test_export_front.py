"""`--select front`: every point of a real front in a folder of its own, with an index over them."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from optuna.study import StudyDirection

from search.cli import main
from search.export_front import export_front, titles_of
from search.front import pareto_front
from search.front_index import ExportedPoint, FrontIndex, index_html, index_markdown
from search.store import load_study
from search.study_file import load_study_file
from space.errors import UserError
from tests.end_to_end.tiny_study import tiny_backbone, write_rows, write_study
from tests.search.chromium import browser, needs_chromium, show_in
from tests.search.finished_study import trial_of
from trainers.bundle import load
from trainers.export.bundle import Bundle
from trainers.export.format import Options
from trainers.folder import check_sums

__all__ = ["browser"]
WAYS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)


class Choosy(Bundle):
    """A bundle that refuses some trials, as a format that lacks their kinds does."""

    def __init__(self, refused):
        self.refused = refused

    def refusal(self, source, options):
        number = source.bundle.config.provenance["trial"]
        return f"it has no <kind> of trial {number}." if number in self.refused else None


class Failing(Bundle):
    """A bundle whose last point cannot be written."""

    def __init__(self, number):
        self.number = number

    def write(self, source, folder, options):
        if source.bundle.config.provenance["trial"] == self.number:
            raise OSError(28, "No space left on device")
        return super().write(source, folder, options)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A study of four trials on a tiny backbone, two of which at least are on its front."""
    folder = tmp_path_factory.mktemp("study")
    write_rows(folder / "rows.csv", 60)
    path = write_study(
        folder,
        backbone=str(tiny_backbone(folder / "tiny")),
        budget={"trials": 4, "epochs": 2},
        objectives=[{"maximize": "accuracy"}, {"minimize": "trainable_params"}],
        space={"depth": [1, 2], "rank": [2, 8], "kinds": ["lora", "parallel"]},
    )
    result = CliRunner().invoke(main, ["search", str(path)])
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="module")
def front(place):
    stored = load_study(load_study_file(place))
    found = pareto_front(stored.get_trials(), stored.directions)
    assert len(found) >= 2
    return found


@pytest.fixture
def run(place, tmp_path):
    """Return a function that exports the front to a new folder."""
    told = []

    def export(form=None, options=None):
        study = load_study_file(place)
        target = tmp_path / "front"
        index = export_front(
            study, place, target, form or Bundle(), options or Options(), told.append
        )
        return target, index, told

    return export


def folders_in(folder):
    return {path.name for path in folder.iterdir() if path.is_dir()}


class TestExportFront:
    def test_the_command_writes_every_point_and_an_index(self, place, front, tmp_path):
        target = tmp_path / "front"
        words = ["export", str(place), "--select", "front", "--output", str(target)]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        assert f"{len(front)} of {len(front)} points are in {target}." in result.stdout
        assert len(folders_in(target)) == len(front)
        assert {p.name for p in target.iterdir()} - folders_in(target) == {
            "index.html",
            "README.md",
            "SHA256SUMS",
        }
        for trial in front:
            (folder,) = [f for f in folders_in(target) if re.match(rf"trial-{trial.number}\b", f)]
            bundle = load(target / folder)
            assert bundle.config.provenance["trial"] == trial.number
            assert bundle.config.provenance["selected_by"] == "front"
            assert bundle.config.spec.to_json() == trial.user_attrs["spec"]
        check_sums(target, ["index.html", *(f"{f}/config.yaml" for f in folders_in(target))])

    def test_the_index_tells_what_the_proofs_say(self, run, front):
        folder, index, told = run()
        html = (folder / "index.html").read_text(encoding="utf-8")
        markdown = (folder / "README.md").read_text(encoding="utf-8")
        for trial, point in zip(front, index.points, strict=True):
            proof = json.loads((folder / point.name / "proof.json").read_text())
            assert dict(point.proof) == proof
            assert (point.number, point.values) == (trial.number, tuple(trial.values))
            assert f'href="{point.name}/"' in html
            assert f"({point.name}/README.md)" in markdown
            for shown in (
                f"{trial.values[0]:.2%}",
                f"{trial.values[1]:,.0f}",
                f"{proof['latency_ms']:#.3g}".rstrip("."),
                f"{proof['size_mib']:#.3g}".rstrip("."),
                point.structure,
            ):
                assert shown in html and shown in markdown
        assert len(told) == len(front)
        assert not re.search(r"https?://|<script|@import|url\(", html)

    def test_what_is_refused_is_told_and_the_others_are_there(self, run, front):
        out = front[0].number
        folder, index, told = run(Choosy({out}))
        assert len(folders_in(folder)) == len(front) - 1
        assert [point.number for point in index.refused] == [out]
        html = (folder / "index.html").read_text(encoding="utf-8")
        assert "Not expressible as bundle" in html
        assert f"it has no &lt;kind&gt; of trial {out}." in html
        assert f"it has no <kind> of trial {out}." in (folder / "README.md").read_text()
        assert any(f"trial {out}: --format bundle: it has no <kind>" in text for text in told)

    def test_where_none_can_be_expressed_nothing_is_written(self, run, front, tmp_path):
        numbers = [trial.number for trial in front]
        with pytest.raises(UserError) as caught:
            run(Choosy(set(numbers)))
        for number, problem in zip(numbers, caught.value.problems, strict=True):
            assert problem.startswith(f"trial {number}: ")
        assert list(tmp_path.iterdir()) == []

    def test_one_that_fails_leaves_none(self, run, front, tmp_path):
        with pytest.raises(UserError, match="No space left"):
            run(Failing(front[-1].number))
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_in_use_is_not_touched(self, run, tmp_path):
        (tmp_path / "front").mkdir()
        (tmp_path / "front" / "mine").write_text("keep")
        with pytest.raises(UserError, match="exists already"):
            run()
        assert [path.name for path in (tmp_path / "front").iterdir()] == ["mine"]

    def test_a_name_in_the_registry_is_of_one_point(self, run, tmp_path):
        with pytest.raises(UserError, match="--register: a name is of one point"):
            run(options=Options(register="champion"))
        assert list(tmp_path.iterdir()) == []

    def test_a_study_without_a_complete_trial_has_no_front(self, place, tmp_path, monkeypatch):
        monkeypatch.setattr("search.export_front.pareto_front", lambda trials, ways: [])
        with pytest.raises(UserError, match="no complete trial yet, so `front` selects nothing"):
            export_front(load_study_file(place), place, tmp_path / "f", Bundle(), Options(), print)


def test_titles_say_what_each_point_is():
    values = [(0.70, 1.0), (0.85, 1.1), (0.87, 2.0), (0.90, 6.0)]
    trials = [trial_of(pair, number=n) for n, pair in enumerate(values)]
    trials[3].set_user_attr("baseline", "lora_all")
    assert titles_of(trials, WAYS, ["accuracy", "inference_gflops"]) == {
        0: ["best inference gflops"],
        1: ["knee"],
        2: [],
        3: ["best accuracy", "baseline lora all"],
    }


def an_index():
    """The index of a front with long and short structures, one of them refused."""
    proof = {
        "latency_ms": 3.21,
        "size_mib": 12.5,
        "largest_difference": 2.4e-7,
        "served": {
            "transformers": {"served": True, "reason": "it is a plain folder"},
            "vLLM": {"served": False, "reason": "its rank"},
        },
    }
    long = "; ".join(
        f"layers {n}-{n + 1}: lora query r{n}, parallel ffn r4" for n in range(0, 12, 2)
    )
    texts = [("knee",), ("best accuracy", "baseline lora all"), (), ("best inference gflops",)]
    points = [
        ExportedPoint(
            number=number,
            name="-".join(["trial", str(number), *titles]).replace(" ", "-"),
            titles=titles,
            values=(0.7 + number / 50, 0.1 * (number + 1)),
            structure=long if number % 2 else "depth 2; head only; mean pooling",
            proof={} if number == 3 else proof,
            refused="--format merged: bottleneck adapters do not fold." if number == 3 else None,
        )
        for number, titles in enumerate(texts)
    ]
    return FrontIndex(
        study="a|b <i>",
        task="text-classification",
        backbone="minilm",
        form="merged",
        names=("accuracy", "inference_gflops"),
        directions=WAYS,
        points=tuple(points),
    )


def test_the_readme_is_a_table_whatever_is_in_it():
    text = index_markdown(an_index())
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in tables[:5]}
    assert widths == {10} and len(tables) == 5 + 3
    assert "can be served by" in tables[0] and "| transformers |" in tables[2]
    assert "do not fold" in tables[-1]
    assert "3 of the 4 points" in text


CUT = """
    return [...document.querySelectorAll('td, th, p, h1, h2, .tag')].filter(e =>
        e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline'
    ).map(e => e.textContent);
"""
SCROLLED = """
    return [...document.querySelectorAll('.scroll')].filter(
        e => e.scrollWidth > e.clientWidth + 1).length;
"""
COLOURS = """
    const of = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
        return (0.299 * r + 0.587 * g + 0.114 * b) / 255; };
    const paper = of(getComputedStyle(document.body).backgroundColor);
    return [paper, ...['td', 'th', 'a', '.tag', '.note'].map(
        what => Math.abs(of(getComputedStyle(document.querySelector(what)).color) - paper))];
"""


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_legible_and_whole(browser, tmp_path, scheme):
    page = Path(tmp_path, "index.html")
    page.write_text(index_html(an_index()), encoding="utf-8")
    show_in(browser, scheme)
    browser.get(page.as_uri())
    assert browser.find_element("tag name", "h1").text == "a|b <i>: the front"
    links = browser.find_elements("tag name", "a")
    assert [link.text for link in links] == ["trial 0", "trial 1", "trial 2"]
    assert links[0].get_attribute("href") == f"{tmp_path.as_uri()}/trial-0-knee/"
    assert browser.execute_script(CUT) == []
    assert browser.execute_script(SCROLLED) == 0
    paper, *contrasts = browser.execute_script(COLOURS)
    assert (paper > 0.9) if scheme == "light" else (paper < 0.15)
    assert min(contrasts) > 0.35
