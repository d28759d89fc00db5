"""Fill the frozen-prefix cache, and hand tables their known boundaries.

`T` tokens of all rows, `D` width.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

import torch
from torch import Tensor

from space.spec import AdapterSpec
from trainers.backbone import Backbone
from trainers.cache.recalled import RecalledTable, token_places
from trainers.cache.store import Entry, PrefixStore
from trainers.data.batches import sorted_batches
from trainers.data.encode import Table
from trainers.engine import Engine
from trainers.model import build

FORMAT = 1
FILL_ROWS = 128
"""Rows of a batch while filling: no gradients are kept."""


@dataclass(frozen=True, kw_only=True)
class Recaller:
    """Knows the frozen prefix of one backbone as one engine runs it."""

    backbone: Backbone
    """As the engine runs it."""
    engine: Engine
    store: PrefixStore

    def recall(self, table: Table, boundaries: tuple[int, ...], device: torch.device) -> Table:
        """Return the table with these boundaries known, as far as there is room for them.

        What is not in the cache is computed in one pass over the rows and kept. For a boundary that
        has no room the nearest one below it is given: the blocks between run in every epoch.

        Args:
            table: rows, tokenised.
            boundaries: what a structure reads (AdapterSpec.boundaries).
            device: where the blocks run.
        """
        if not boundaries:
            return table
        prefix = _Prefix(self, table)
        known = prefix.opened(boundaries)
        missing = tuple(b for b in boundaries if b not in known)
        if missing:
            try:
                with self.store.writing(prefix.entry(missing[0]).folder):
                    known |= prefix.opened(missing)  # another process may have written them
                    missing = tuple(b for b in boundaries if b not in known)
                    known |= prefix.filled(missing, known, device)
            except OSError as error:
                self.store.tell(
                    f"the frozen-prefix cache in {self.store.folder} cannot be written ({error});"
                    " its blocks are computed in every epoch instead."
                )
        return RecalledTable(table=table, boundaries=known) if known else table


class _Prefix:
    """The boundaries of one table."""

    def __init__(self, recaller: Recaller, table: Table) -> None:
        self._recaller = recaller
        self._store = recaller.store
        self._table = table
        self._shape = (int(table.lengths.sum()), recaller.backbone.shape.width)
        self._dtype = recaller.engine.dtype
        self._key = {
            "format": FORMAT,
            "backbone": recaller.backbone.fingerprint,
            "table": table_fingerprint(table),
            "precision": recaller.engine.precision,
            "attention": recaller.engine.attention,
            **{name: version(name) for name in ("torch", "transformers")},
        }

    def entry(self, boundary: int) -> Entry:
        """Return the place of a boundary in the store."""
        return self._store.entry(self._key, boundary)

    def opened(self, boundaries: tuple[int, ...]) -> dict[int, Tensor]:
        """Return those of the boundaries that are in the cache."""
        found = {
            boundary: self._store.open(self.entry(boundary), self._shape, self._dtype)
            for boundary in boundaries
        }
        return {boundary: states for boundary, states in found.items() if states is not None}

    def filled(
        self, missing: tuple[int, ...], known: Mapping[int, Tensor], device: torch.device
    ) -> dict[int, Tensor]:
        """Compute the missing boundaries and keep them; return them, or the nearest below."""
        if not missing:
            return {}
        start = self._below(missing[0], known)
        kept = [self.entry(boundary) for boundary in (*missing, *known, *start)]
        room: dict[int, Tensor] = {}
        for boundary in missing:
            states = self._store.reserve(self.entry(boundary), self._shape, self._dtype, kept)
            if states is not None:
                room[boundary] = states
        try:
            if room:
                self._compute(room, {**known, **start}, device)
            while room:
                boundary = next(iter(room))
                del room[boundary]  # no longer mapped for writing
                self._store.commit(self.entry(boundary), self._shape, self._dtype)
        finally:
            for boundary in missing:
                self._store.give_up(self.entry(boundary))
        found = self.opened(missing)
        return found if missing[0] in found else {**start, **found}

    def _below(self, boundary: int, known: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return the highest boundary below this one that is in the cache."""
        for lower in range(boundary - 1, 0, -1):
            states = known.get(lower)
            if states is None:
                states = self.opened((lower,)).get(lower)
            if states is not None:
                return {lower: states}
        return {}

    @torch.inference_mode()
    def _compute(
        self, room: Mapping[int, Tensor], start: Mapping[int, Tensor], device: torch.device
    ) -> None:
        """Run the blocks over all rows and write what comes behind them into `room`."""
        table = RecalledTable(table=self._table, boundaries=start) if start else self._table
        spec = AdapterSpec(depth=max(room))
        model = build(self._recaller.backbone, spec, n_outputs=1, seed=0).to(device)
        found: dict[int, Tensor] = {}
        model.running.at_boundary = found.__setitem__
        for rows in sorted_batches(table.lengths, FILL_ROWS):
            batch = table.collate(rows).to(device)
            model.hidden(boundaries=batch.boundaries, **batch.inputs)
            places = torch.from_numpy(token_places(table.lengths, rows))
            own = torch.from_numpy(table.lengths[rows]).unsqueeze(1)
            real = torch.arange(places.shape[1]) < own  # (B, N)
            for boundary, states in room.items():
                hidden = found[boundary].cpu()
                if hidden.shape[:2] != places.shape:
                    raise AssertionError(
                        f"block {boundary} gives {hidden.shape[1]} tokens for {places.shape[1]}"
                    )
                states[places[real]] = hidden[real]


@lru_cache(maxsize=8)  # a study has two tables, and asks for each of its trials
def table_fingerprint(table: Table) -> str:
    """Return the SHA-256 of what the backbone reads of all rows; labels do not count."""
    digest = hashlib.sha256()
    for rows in sorted_batches(table.lengths, 1024):
        for name, values in sorted(table.collate(rows).inputs.items()):
            digest.update(f"{name} {tuple(values.shape)} {values.dtype}:".encode())
            digest.update(values.contiguous().numpy().data)
        digest.update(rows.tobytes())
    return digest.hexdigest()
