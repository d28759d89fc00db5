"""Turn pydantic's findings on a study file into messages for the person who wrote it."""

from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from space.errors import close_matches

_RULES = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be a text",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}


def messages_of(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """Return one message for each problem: key, rule, value, and what would be right."""
    messages: dict[str, None] = {}  # in order, each once
    for detail in _without_other_arms(error.errors()):
        for message in _messages(detail, root):
            messages.setdefault(message)
    return list(messages)


def _without_other_arms(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Keep, of a value that may have several forms, the findings on the form that it has.

    Pydantic tells what is wrong with a value as each of its forms; a list is not told that it is
    not a text.
    """
    kept = []
    for detail in details:
        siblings = [d for d in details if _key(d) == _key(detail) and d is not detail]
        deeper = any(len(_key(d)) > len(_key(detail)) and _starts(d, detail) for d in details)
        is_form = detail["type"] in _RULES or detail["type"] == "literal_error"
        if is_form and (deeper or any(d["type"] not in _RULES for d in siblings)):
            if detail["type"] != "literal_error" or deeper or _of_other_form(detail):
                continue
        kept.append(detail)
    return kept


def _of_other_form(detail: ErrorDetails) -> bool:
    return isinstance(detail["input"], (list, tuple, dict))


def _starts(deep: ErrorDetails, shallow: ErrorDetails) -> bool:
    return _key(deep)[: len(_key(shallow))] == _key(shallow)


def _key(detail: ErrorDetails) -> tuple[str | int, ...]:
    """Return the place in the file, without the names of forms that pydantic puts between."""
    return tuple(
        part
        for part in detail["loc"]
        if isinstance(part, int)
        or (not any(mark in part for mark in ("[", "(")) and part not in _FORMS)
    )


_FORMS = {"Range", "float", "int", "str", "literal"}


def _messages(detail: ErrorDetails, root: type[BaseModel]) -> list[str]:
    key = ".".join(str(part) for part in _key(detail))
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        known = _fields_at(root, _key(detail)[:-1])
        names = ", ".join(known)
        return [
            f"{key}: unknown key.{close_matches(str(_key(detail)[-1]), known)}"
            f" The keys here are {names}."
        ]
    if kind == "missing":
        return [f"{key}: this key is required."]
    if kind == "value_error":
        text = detail["msg"].removeprefix("Value error, ")
        # Findings on the whole file name their keys themselves.
        return [f"{key}: {line}" if key else line for line in text.splitlines()]
    return [f"{key}: {_rule(detail)}, but got {value!r}."]


def _rule(detail: ErrorDetails) -> str:
    kind = detail["type"]
    context: dict[str, Any] = detail.get("ctx", {})
    if kind in _RULES:
        return _RULES[kind]
    if kind == "literal_error":
        return f"must be one of {context['expected']}"
    if kind == "too_short" and context["min_length"] == 1:
        return "must not be empty"
    if kind == "too_short":
        return f"must have at least {context['min_length']} entries"
    if kind == "too_long":
        return f"must have at most {context['max_length']} entries"
    if kind == "greater_than_equal":
        return f"must be at least {context['ge']}"
    if kind == "greater_than":
        return f"must be greater than {context['gt']}"
    if kind == "less_than":
        return f"must be less than {context['lt']}"
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "string_pattern_mismatch":
        return "must begin with a letter or digit and hold letters, digits, spaces, `.`, `_`, `-`"
    return detail["msg"][0].lower() + detail["msg"][1:]


def _fields_at(root: type[BaseModel], key: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the section at `key` has."""
    section = root
    for part in key:
        annotation = section.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        section = models[0]
    return list(section.model_fields)
