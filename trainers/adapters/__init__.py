"""The adapter kinds as modules; the table of what each is, `space/kinds.py`, needs no torch."""

from trainers.adapters.bottleneck import Bottleneck
from trainers.adapters.lora import Lora
from trainers.adapters.parallel import Parallel

__all__ = ["Bottleneck", "Lora", "Parallel"]
