"""The frozen-prefix cache: hidden states that are the same in every epoch and every trial."""

from trainers.cache.prefix import Recaller
from trainers.cache.recalled import RecalledTable
from trainers.cache.store import PrefixStore, default_folder

__all__ = ["PrefixStore", "RecalledTable", "Recaller", "default_folder"]
