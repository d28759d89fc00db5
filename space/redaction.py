"""Texts without passwords: what all that others can read goes through.

One function for logs, messages, storage attributes, MLflow, exports and reports, so that there is
one place to mend. It sees a secret by its place in a URL, never by its looks, and rather hides too
much of a word than too little.
"""

import re

HIDDEN = "***"

_NAMES = (
    r"password|passwd|passphrase|\bpass|pwd|secret|token|api_?key|access_?key|account_?key"
    r"|credentials?|signature|\bsig"
)
_NAMED = re.compile(
    rf"""
    (?P<name>(?:{_NAMES})\s*(?:=|%3D)\s*)
    (?: '[^']*' | "[^"]*" | \{{[^}}]*\}} | (?:(?!%3B|%26)[^&;\s])+ )
    """,
    re.VERBOSE | re.IGNORECASE,
)


def redacted(text: str) -> str:
    """Return a text in which no URL or connection string shows a user name or a password.

    Args:
        text: any; `postgresql://me:secret@host/db?password=secret` becomes
            `postgresql://***@host/db?password=***`.
    """
    text = re.sub(r"\S+", lambda word: _without_userinfo(word[0]), text)
    return _NAMED.sub(rf"\g<name>{HIDDEN}", text)


def has_blank_in_userinfo(url: str) -> bool:
    """Whether a user name or password holds a blank: in a text its end could not be told."""
    _, _, tail = url.partition("://")
    userinfo, _, _ = tail.rpartition("@")
    return not tail.startswith("/") and any(character.isspace() for character in userinfo)


def _without_userinfo(word: str) -> str:
    # A file's path may have taken a slash away (`http:/me:secret@host`), and a database's may
    # hold an @ itself (`sqlite:////home/me@work/x.db`). Up to the last @: a secret may hold one.
    head, mark, tail = word.partition(":/")
    if not mark:  # `me:secret@host`, where someone forgot what stands before it
        userinfo, at, host = word.rpartition("@")
        return f"{HIDDEN}@{host}" if at and ":" in userinfo else word
    place = tail.lstrip("/")
    userinfo, at, host = place.rpartition("@")
    n_slashes = len(tail) - len(place)
    if not at or (n_slashes != 1 and ":" not in userinfo):
        return word
    return f"{head}{mark}{'/' * n_slashes}{HIDDEN}@{host}"
