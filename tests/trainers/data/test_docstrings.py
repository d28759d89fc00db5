"""The built-in source on the libraries that are installed: no leak, no duplicates, fast."""

import gc
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from space.errors import UserError
from trainers.data import docstring_rows, docstrings


@pytest.fixture(scope="module")
def rows():
    return docstring_rows()


def test_ten_classes_of_400_rows(rows):
    assert rows["label"].value_counts().to_dict() == dict.fromkeys(docstrings.LIBRARIES, 400)
    assert len(docstrings.LIBRARIES) == 10


def test_no_text_holds_the_name_of_a_library(rows):
    names = re.compile("|".join([*docstrings.LIBRARIES, "scikit"]), re.IGNORECASE)
    aliases = re.compile(r"\b(np|pd|plt|mpl|nx|sp|sa)\b|\b(px|go)\.\w", re.IGNORECASE)
    assert [text for text in rows["text"] if names.search(text) or aliases.search(text)] == []
    assert rows["text"].str.contains(docstrings.MASK).any()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("A NumPy array, np.array", "A library array, library.array"),
        ("see scikit-learn, PyTorch's torch.nn", "see library, library's library.nn"),
        (
            "px.line is 3 px wide; go on to go.Figure",
            "library.line is 3 px wide; go on to library.Figure",
        ),
        ("call to_numpy() or plt.show", "call library() or library.show"),
        ("the input comes spread out", "the input comes spread out"),
    ],
)
def test_masking(text, masked):
    assert docstrings._first_paragraph(text) == masked


def test_no_duplicates_and_no_short_texts(rows):
    assert not rows["text"].str.lower().duplicated().any()
    assert rows["text"].str.split().str.len().between(5, 60).all()
    assert (rows["text"] == rows["text"].str.split().str.join(" ")).all()


def test_the_same_rows_again_and_in_seconds(rows):
    start = time.process_time()
    again = docstring_rows()
    assert time.process_time() - start < 20  # About 4 on one core; machines differ.
    assert again.equals(rows)
    assert gc.isenabled()


def test_the_rows_do_not_depend_on_the_place_of_the_installation(tmp_path, monkeypatch):
    package = docstrings._folder("networkx")
    before = docstrings._candidates("networkx", 50)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "networkx").symlink_to(package)
    monkeypatch.setattr(docstrings, "_folder", lambda name: tmp_path / "elsewhere" / name)
    assert docstrings._candidates("networkx", 50) == before


def test_libraries_are_read_without_being_imported():
    program = (
        "import sys; from trainers.data.docstrings import docstring_rows; docstring_rows(20);"
        "sys.exit(bool({'plotly', 'mlflow', 'networkx', 'sqlalchemy'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0


def test_what_counts_as_a_public_docstring(tmp_path, monkeypatch):
    module = '''"""Module sentence of five words.

Second paragraph that is left out."""
class Public:
    """Class sentence of
    five words."""
    def method(self):
        """Method sentence of five words."""
    def _private(self):
        """Private method of five words."""
class _Hidden:
    """Hidden class of five words."""
    def method(self):
        """Hidden method of five words."""
async def go():
    """>>> print("an example of five words")"""
def short():
    """Too short."""
x = "\\d"
'''
    for name in ("a.py", "tests/b.py", "_internal/c.py", "test_d.py", "externals/e.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(module.replace("sentence", f"sentence-{name}"))
    (tmp_path / "_impl.py").write_text('"""A private module is read."""')
    (tmp_path / "template.py").write_text("{{ not python }} at all")
    monkeypatch.setattr(docstrings, "_folder", lambda name: tmp_path)
    assert sorted(docstrings._candidates("torch", 100).values()) == [
        "A private module is read.",
        "Class sentence-a.py of five words.",
        "Method sentence-a.py of five words.",
        "Module sentence-a.py of five words.",
    ]


def test_a_text_of_two_classes_is_in_neither(monkeypatch):
    def candidates(library, per_class):
        own = {f"{library} {i}": f"{library} {i}" for i in range(per_class)}
        return own | {"the same": "The same"}

    monkeypatch.setattr(docstrings, "_candidates", candidates)
    assert "The same" not in docstring_rows(3)["text"].tolist()


def test_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(docstrings, "LIBRARIES", ("networkx", "no_such_library"))
    with pytest.raises(UserError, match=r"data\.source docstrings.*no_such_library is not inst"):
        docstring_rows(5)


def test_too_few_docstrings(monkeypatch):
    monkeypatch.setattr(docstrings, "LIBRARIES", ("networkx", "numpy"))
    with pytest.raises(UserError) as caught:
        docstring_rows(1_000)
    assert any(
        re.search(r"numpy has \d+ different docstrings, 1000 are needed", problem)
        for problem in caught.value.problems
    )
