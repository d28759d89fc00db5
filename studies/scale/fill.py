"""A study of many trials in a moment: a few real ones, copied as rows.

Ten thousand trials that are written one after the other would take an hour, and nothing is learned
from it: what is measured is what the next trial takes.
"""

import itertools
from typing import Any

import sqlalchemy as sa

_ROWS_A_STATEMENT = 2_000


def fill(base_url: str, url: str, n_trials: int, n_running: int) -> None:
    """Copy the trials of a database's one study into that of another until there are so many.

    Objectives are changed a little from copy to copy, so that the front is one of single points.

    Args:
        base_url: of the database with the trials.
        url: of the other, whose study has no trial yet.
        n_trials: how many there are to be.
        n_running: how many of them, the last ones, are in the middle of their training.
    """
    base, target = sa.create_engine(base_url), sa.create_engine(url)
    first_running = n_trials - n_running
    with base.begin() as source, target.begin() as connection:
        tables = sa.MetaData()
        tables.reflect(connection)
        trials = tables.tables["trials"]
        rows = _rows(source, "trials")
        numbers = {row["trial_id"]: row["number"] for row in rows}
        rows.sort(key=lambda row: row["number"])
        copies = [
            _without(rows[n % len(rows)], "trial_id") | {"number": n} for n in range(n_trials)
        ]
        for copy in copies[first_running:]:
            copy |= {"state": "RUNNING", "datetime_complete": None}
        _insert(connection, trials, copies)
        found = connection.execute(sa.select(trials.c.number, trials.c.trial_id))
        ids = {row.number: row.trial_id for row in found}
        for table in tables.sorted_tables:
            if "trial_id" in table.c and table is not trials:
                own = _by_number(_rows(source, table.name), table, numbers)
                _copy(connection, table, own, ids, len(rows), first_running)
    base.dispose()
    target.dispose()


def _by_number(
    rows: list[dict[str, Any]], table: sa.Table, numbers: dict[int, int]
) -> dict[int, list[dict[str, Any]]]:
    """Return a table's rows, without their own keys, by the number of their trial."""
    keys = [column.name for column in table.primary_key if column.name != "trial_id"]
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(numbers[row["trial_id"]], []).append(_without(row, *keys))
    return found


def _copy(
    connection: sa.Connection,
    table: sa.Table,
    rows: dict[int, list[dict[str, Any]]],
    ids: dict[int, int],
    n_base: int,
    first_running: int,
) -> None:
    _insert(
        connection,
        table,
        [
            _changed(table, row, number) | {"trial_id": trial_id}
            for number, trial_id in ids.items()
            for row in rows.get(number % n_base, [])
            if number < first_running or not _of_its_end(table, row)
        ],
    )


def _of_its_end(table: sa.Table, row: dict[str, Any]) -> bool:
    """Whether a trial that runs does not have this row yet."""
    ends = ("end", "metrics", "history", "reason")
    return table.name == "trial_values" or row.get("key") in ends


def _changed(table: sa.Table, row: dict[str, Any], number: int) -> dict[str, Any]:
    if table.name != "trial_values" or row["value"] is None:
        return row
    return row | {"value": row["value"] * (1 + 1e-3 * ((number * 7919) % 101) / 101)}


def _insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    for first in range(0, len(rows), _ROWS_A_STATEMENT):
        chunk = list(itertools.islice(rows, first, first + _ROWS_A_STATEMENT))
        connection.execute(sa.insert(table), chunk)


def _rows(connection: sa.Connection, name: str) -> list[dict[str, Any]]:
    table = sa.Table(name, sa.MetaData(), autoload_with=connection)
    return [dict(row) for row in connection.execute(sa.select(table)).mappings()]


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}
