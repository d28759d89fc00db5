"""The adapter kinds as modules; the table of what each is, `space/kinds.py`, needs no torch."""

from trainers.adapters.bottleneck import Bottleneck
from trainers.adapters.experts import Experts
from trainers.adapters.ia3 import Ia3
from trainers.adapters.lora import Lora
from trainers.adapters.parallel import Parallel
from trainers.adapters.prefix import Prefix
from trainers.adapters.side import SideNetwork

__all__ = ["Bottleneck", "Experts", "Ia3", "Lora", "Parallel", "Prefix", "SideNetwork"]
