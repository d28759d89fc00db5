"""Turns of the drivers that share a study: one at a time begins it, and asks for trials."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool


def shared_by_drivers(storage: str) -> bool:
    """Whether a storage is one that several drivers may use at a time."""
    return make_url(storage).get_backend_name() == "postgresql"


@contextmanager
def turn(storage: str, study_name: str) -> Iterator[None]:
    """Keep other drivers of a study waiting meanwhile; nothing where there can be none.

    The lock is one of the database's own, and goes with the connection, however that ends.

    Raises:
        SQLAlchemyError: the database does not answer.
    """
    if not shared_by_drivers(storage):
        yield
        return
    digest = hashlib.sha256(study_name.encode()).digest()
    key = int.from_bytes(digest[:8], "big", signed=True)
    engine = create_engine(storage, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        yield
