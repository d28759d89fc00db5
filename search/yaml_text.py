"""Read YAML safely, and without its two surprises: keys given twice, and `1e-4` as a text."""

import re
from typing import Any

import yaml


class _StudyLoader(yaml.SafeLoader):
    """The safe loader, with YAML 1.2's numbers and an error for a key that stands twice.

    Aliases are refused: a study file needs none, and with them a small text can be endless.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, f"aliases such as *{event.anchor} are not read", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_scalar(self, node: Any) -> Any:
        text = super().construct_scalar(node)
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise yaml.constructor.ConstructorError(
                None, None, "a text with half a character (\\ud800 to \\udfff)", node.start_mark
            )
        return text

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            try:
                twice = key in seen
                seen.add(key)
            except TypeError:
                twice = False
            if twice:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{key}` stands twice", key_node.start_mark
                )
        return super().construct_mapping(node, deep)


_StudyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> Any:
    """Return what a YAML text holds.

    Raises:
        ValueError: it is not YAML, or a key stands twice; with line and column.
    """
    try:
        return yaml.load(text, Loader=_StudyLoader)  # noqa: S506 (a safe loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem or error.context}") from error
    except Exception as error:  # A value that its tag does not fit, such as `!!int ""`.
        reason = str(error).strip() or type(error).__name__
        raise ValueError(reason.splitlines()[0]) from error


def dump_yaml(data: Any) -> str:
    """Return plain data as YAML, keys in their order."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None)
