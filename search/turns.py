"""Turns of the drivers that share a study: one at a time begins it, and asks for trials."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from search.patience import Patience


def shared_by_drivers(storage: str) -> bool:
    """Whether a storage is one that several drivers may use at a time."""
    return make_url(storage).get_backend_name() == "postgresql"


@contextmanager
def turn(storage: str, study_name: str, patience: Patience | None = None) -> Iterator[None]:
    """Keep other drivers of a study waiting meanwhile; nothing where there can be none.

    The lock is one of the database's own, and goes with the connection, however that ends.

    Args:
        storage: its URL.
        study_name: whose drivers.
        patience: with a database that does not answer; None: that is an error at once.

    Raises:
        OSError: the database does not answer for too long.
        SQLAlchemyError: it refuses.
    """
    if not shared_by_drivers(storage):
        yield
        return
    digest = hashlib.sha256(study_name.encode()).digest()
    key = int.from_bytes(digest[:8], "big", signed=True)
    if patience is None:
        connection = _locked(storage, key)
    else:
        connection = patience.run(lambda: _locked(storage, key))
    try:
        yield
    finally:
        # One that was lost meanwhile took the lock with it: what was done stands all the same.
        with suppress(SQLAlchemyError):
            connection.close()


def _locked(storage: str, key: int) -> Connection:
    """Return a connection that holds the lock until it is closed."""
    connection = create_engine(storage, poolclass=NullPool).connect()
    try:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
    except BaseException:
        with suppress(SQLAlchemyError):
            connection.close()
        raise
    return connection
