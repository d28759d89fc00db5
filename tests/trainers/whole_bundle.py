"""A bundle written to a folder with its card and checksums, as an export writes it."""

from trainers.bundle import CARD, write_bundle
from trainers.folder import new_folder


def write_whole(folder, config, state, metrics=None, card="# Card\n"):
    with new_folder(folder) as partial:
        write_bundle(partial, config, state, metrics or {})
        (partial / CARD).write_text(card, encoding="utf-8")
