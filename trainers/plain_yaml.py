"""YAML as plain data, from strangers: it makes texts, numbers, lists and mappings, and no more.

PyYAML's safe loader runs nothing, but a small file can still make it build what fills the memory
(aliases), or take hours (a number of a million digits, or one to the base of sixty).
"""

from pathlib import Path
from typing import Any

import yaml

from space.errors import UserError

MAX_BYTES = 2**20
MAX_DEPTH = 32
MAX_NUMBER = 64
"""Characters of a number."""

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"


class _Loader(_BASE):  # type: ignore[misc]
    """The safe loader with short numbers, and dates left as texts."""


class _Dumper(yaml.SafeDumper):
    """The safe dumper, which spells out what stands twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _short(construct: Any) -> Any:
    def run(loader: Any, node: yaml.ScalarNode) -> Any:
        if len(node.value) > MAX_NUMBER:
            raise yaml.constructor.ConstructorError(
                None, None, f"a number of {len(node.value)} characters", node.start_mark
            )
        return construct(loader, node)

    return run


_Loader.add_constructor(f"{_TAG}int", _short(_BASE.construct_yaml_int))
_Loader.add_constructor(f"{_TAG}float", _short(_BASE.construct_yaml_float))
_Loader.add_constructor(f"{_TAG}timestamp", _BASE.construct_yaml_str)


def read_yaml(path: Path) -> Any:
    """Return what a file of plain YAML holds.

    Raises:
        UserError: it cannot be read, is too large, is no YAML, or has tags, anchors or aliases.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UserError(f"{path}: is larger than {MAX_BYTES // 2**10} KiB, the most allowed.")
        text = content.decode("utf-8")
        _check_plain(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # a safe loader, and less
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not YAML of plain data ({reason}).") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}).") from error


def _check_plain(text: str) -> None:
    """Raise ValueError where there is more than nested lists, mappings and scalars."""
    depth = 0
    for event in yaml.parse(text, Loader=_BASE):
        place = f"line {event.start_mark.line + 1}" if event.start_mark else "the start"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"an anchor or an alias, in {place}")
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise ValueError(f"a tag, {tag!r}, in {place}")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels, in {place}")


def as_yaml(data: Any) -> str:
    """Return plain data as YAML that `read_yaml` reads."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
