"""Patience with a database that does not answer: a restart of it costs a study no trial."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

import optuna
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from space.redaction import redacted

PATIENCE_S = 600.0
"""How long a database may stay away."""
PAUSE_S = 1.0
"""Between two tries."""
_FULL = "database or disk is full"
_BUSY = ("database is locked", "database table is locked")

Given = TypeVar("Given")


class Patience:
    """Tries again where a database is away for a while; says so, once each time.

    Args:
        storage: its URL.
        tell: takes sentences for the user.
    """

    def __init__(self, storage: str, tell: Callable[[str], None] = lambda _: None) -> None:
        self._storage = storage
        self._tell = tell
        self._lost = False
        """It did not come back in time once: nothing is waited for any more."""

    def run(self, call: Callable[[], Given]) -> Given:
        """Call until the database answers; return what the call gave.

        What was in the middle of a transaction is done anew. Whoever calls has to stand that it was
        done already, and only the answer was lost.

        Raises:
            OSError: it did not come back in time, or its disk is full.
            whatever else `call` raises.
        """
        since = time.monotonic()
        told = False
        while True:
            try:
                return call()
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
                why = self._in_words(error)
                if why is None:
                    raise
                waited_s = time.monotonic() - since
                if self._lost or waited_s > PATIENCE_S or _FULL in why:
                    self._lost = True
                    raise self._ended(why, waited_s) from error
                if not told:
                    told = True
                    self._tell(
                        f"note: storage: the database does not answer ({why}). It is waited for, up"
                        f" to {PATIENCE_S / 60:.0f} minutes."
                    )
                time.sleep(PAUSE_S)

    def _ended(self, why: str, waited_s: float) -> OSError:
        place = redacted(self._storage)
        if _FULL in why:
            text = f"storage: the disk of {place} is full; when there is room"
            return OSError(errno.ENOSPC, f"{text}, the same command goes on")
        away = f" for {waited_s:.0f} s" if waited_s > 2 * PAUSE_S else ""
        text = f"storage: {place} does not answer{away} ({why}); when it does again"
        return OSError(errno.EIO, f"{text}, the same command goes on")

    def _in_words(self, error: Exception) -> str | None:
        """Return the first line of an error that may pass, or of a full disk; None for others."""
        while isinstance(error, optuna.exceptions.StorageInternalError):
            if not isinstance(error.__cause__, Exception):
                return None
            error = error.__cause__
        line = redacted(str(getattr(error, "orig", None) or error).partition("\n")[0])
        if not isinstance(error, DBAPIError):
            return None
        if make_url(self._storage).get_backend_name() == "sqlite":
            return line if line in (_FULL, *_BUSY) else None
        away = error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError))
        return line if away else None
