"""The built-in source `docstrings`: which library does this sentence document?

Real English text that is there offline: the first paragraphs of the public docstrings of ten
installed libraries, one class a library. The libraries are read as files, never imported. A
library's name and the short names that it is imported under are masked in every text, or the
label would stand in the text itself.
"""

import ast
import hashlib
import importlib.util
import re
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePath

import numpy
import pandas

from space.errors import UserError
from trainers.collector import collector_paused

LIBRARIES = (
    "matplotlib",
    "mlflow",
    "networkx",
    "numpy",
    "pandas",
    "plotly",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "torch",
)
MASK = "library"

_WORDS = range(5, 61)  # Shorter is a name, longer mostly a generated list of values.
_SEED = 0
# Candidates read for each row that is wanted: enough for a diverse sample after duplicates are
# gone, few enough that the whole source takes 4 s (all files of torch alone take 3 s).
_CANDIDATES = 1.5
# Folders of tests and of other projects' code that a library carries along.
_FOREIGN = frozenset({"tests", "test", "testing", "externals", "extern", "vendor"})
_NAMES = re.compile(
    r"scikit[-_ ]?learn|\b\w*(?:" + "|".join(LIBRARIES) + r"|scikit)\w*"
    # Import aliases; `px` and `go` are words too, so they count only before a dot and a name.
    r"|\b(?:np|pd|plt|mpl|sp|nx|sa|skl|pyplot|pylab)\b|\b(?:px|go)(?=\.\w)",
    re.IGNORECASE,
)
_BLANK_LINE = re.compile(r"\n\s*\n")
# A first paragraph that opens so is markup or an example, not English.
_MARKUP = (">>>", "..", ":", "@", "=", "-", "|", "+")


def docstring_rows(per_class: int = 400) -> pandas.DataFrame:
    """Return the text columns `text` and `label`, `per_class` rows for each of ten libraries.

    The sample depends on the versions of the libraries alone, not on where they are installed.
    No text stands twice, in one class or in two.

    Raises:
        UserError: a library is not installed or has too few docstrings.
    """
    # Syntax trees have millions of nodes, no cycles: 3.4 s without the collector, 5.9 with it.
    with collector_paused():
        candidates = {library: _candidates(library, per_class) for library in LIBRARIES}
    classes_of: dict[str, int] = {}
    for texts in candidates.values():
        for key in texts:
            classes_of[key] = classes_of.get(key, 0) + 1
    generator = numpy.random.default_rng(_SEED)
    rows: list[tuple[str, str]] = []
    problems: list[str] = []
    for library, texts in candidates.items():
        own = [text for key, text in sorted(texts.items()) if classes_of[key] == 1]
        if len(own) < per_class:
            problems.append(
                f"data.source docstrings: {library} has {len(own)} different docstrings, "
                f"{per_class} are needed. Install a whole, recent {library}."
            )
            continue
        chosen = generator.choice(len(own), size=per_class, replace=False)
        rows.extend((own[index], library) for index in sorted(chosen))
    if problems:
        raise UserError(problems)
    return pandas.DataFrame(rows, columns=["text", "label"], dtype="str")


def _candidates(library: str, per_class: int) -> dict[str, str]:
    """Map the lower-case spelling of a text to the text, for rather more rows than wanted."""
    root = _folder(library)
    texts: dict[str, str] = {}
    for relative in _files(root):
        for docstring in _public_docstrings((root / relative).read_bytes()):
            text = _first_paragraph(docstring)
            if len(text.split()) in _WORDS and not text.startswith(_MARKUP):
                texts.setdefault(text.lower(), text)
        if len(texts) >= _CANDIDATES * per_class:
            break
    return texts


def _folder(library: str) -> Path:
    spec = importlib.util.find_spec(library)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"data.source docstrings reads the docstrings of {', '.join(LIBRARIES)}, but "
            f"{library} is not installed. Install it, or name your own file in data.train."
        )
    return Path(spec.submodule_search_locations[0])


def _files(root: Path) -> list[str]:
    """List the modules below `root` in an order that is fixed, yet mixes the whole library."""
    relatives = (path.relative_to(root) for path in root.rglob("*.py"))
    public = (relative.as_posix() for relative in relatives if _is_public(relative))
    return sorted(public, key=lambda relative: hashlib.sha256(relative.encode()).digest())


def _is_public(relative: PurePath) -> bool:
    # A private folder is internal, but a private module is where scipy, scikit-learn and plotly
    # define what their packages export: without them 113, 330 and 185 docstrings are left.
    folders = relative.parts[:-1]
    if any(folder in _FOREIGN or folder.startswith("_") for folder in folders):
        return False
    return not relative.name.startswith(("test_", "_test", "conftest"))


def _public_docstrings(source: bytes) -> Iterator[str]:
    with warnings.catch_warnings():
        # Another library's invalid escapes are no concern of the user's.
        warnings.simplefilter("ignore")
        try:
            module = ast.parse(source)
        except SyntaxError:  # A template, or code for another version of Python.
            return
    yield from _docstrings_below(module)


def _docstrings_below(node: ast.Module | ast.ClassDef) -> Iterator[str]:
    own = ast.get_docstring(node, clean=False)
    if own:
        yield own
    for child in node.body:
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if child.name.startswith("_"):
            continue
        if isinstance(child, ast.ClassDef):
            yield from _docstrings_below(child)
        elif docstring := ast.get_docstring(child, clean=False):
            yield docstring


def _first_paragraph(docstring: str) -> str:
    paragraph = _BLANK_LINE.split(docstring.strip(), maxsplit=1)[0]
    return _NAMES.sub(MASK, " ".join(paragraph.split()))
