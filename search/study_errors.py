"""Turn pydantic's findings on a study file into messages for the person who wrote it."""

import re
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from space.errors import close_matches

FORMS = ("<word>", "<list>", "<number>", "<range>")
"""Tags of the forms that one key may have; pydantic puts them into the place of a finding."""

_RULES = {
    "int_type": "must be a whole number",
    "int_parsing_size": "must be a smaller whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be a text",
    "string_unicode": "must be a text of valid characters",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must begin with a letter or digit and hold letters, digits, spaces,"
    " `.`, `_`, `-`",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "invalid_key": "must be a text where a key stands",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
}
"""What is right, by pydantic's type of finding, with the names of its context."""


def messages_of(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """Return one message for each problem: key, rule, value, and what would be right."""
    return [message for detail in error.errors() for message in _messages(detail, root)]


def _messages(detail: ErrorDetails, root: type[BaseModel]) -> list[str]:
    key, kind = _key(detail["loc"]), detail["type"]
    if kind == "extra_forbidden":
        known = _fields_at(root, detail["loc"][:-1])
        *above, name = detail["loc"]
        hint = close_matches(str(name), known)
        # As it was written: a name may be empty, or be the one of a form.
        key = ".".join(filter(None, (_key(tuple(above)), str(name) or "''")))
        return [f"{key}: unknown key.{hint} The keys here are {', '.join(known)}."]
    if kind == "missing":
        return [f"{key}: this key is required."]
    if kind == "value_error":
        return [f"{key}: {line}" for line in str(detail["ctx"]["error"]).splitlines()]
    if kind == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]:
        return []  # Pydantic counts the entries that are right; the others are told of each.
    return [f"{key}: {_rule(detail)}, but got {in_words(detail['input'])}.{_near(detail)}"]


def _key(place: tuple[str | int, ...]) -> str:
    """Return a place in the file as people write it, such as `space.rank[0]`."""
    parts = (p for p in place if p not in FORMS and p != "[key]")
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).removeprefix(".")


def _rule(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _RULES:
        return _RULES[kind].format(**context)
    if kind in ("too_short", "too_long"):
        least = kind == "too_short"
        limit = context["min_length" if least else "max_length"]
        if least and limit == 1:
            return "must not be empty"
        entries = "entry" if limit == 1 else "entries"
        return f"must have {'at least' if least else 'at most'} {limit} {entries}"
    return detail["msg"][0].lower() + detail["msg"][1:]


def _near(detail: ErrorDetails) -> str:
    expected = re.findall("'([^']+)'", detail.get("ctx", {}).get("expected", ""))
    return close_matches(str(detail["input"]), expected)


def in_words(value: Any) -> str:
    """Return a value of the file as YAML would have it, cut where it is long."""
    text = _as_yaml(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _as_yaml(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_as_yaml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_as_yaml(inner)}' for key, inner in value.items())}}}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def _fields_at(root: type[BaseModel], place: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the section at `place` has."""
    section = root
    for part in place:
        if part not in FORMS:
            (section,) = _sections_in(section.model_fields[str(part)].annotation)
    return list(section.model_fields)


def _sections_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for inner in get_args(annotation) for section in _sections_in(inner)]
