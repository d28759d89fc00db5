"""Measure what a training step of a side network costs against one with adapters in all blocks.

    python -m tests.benchmarks.table side

No backward pass runs through the backbone, and all that is read of it comes from the cache. All
structures take one step in turn, so that a disturbance of the machine meets all of them.
"""

import tempfile
from pathlib import Path

from space.search_space import Learning
from space.side import Side
from space.spec import AdapterSpec
from tests.benchmarks.contributions import Steps, batches, in_turns, our_steps, recalled
from tests.benchmarks.material import Structure, context_of, lora
from tests.benchmarks.rows import Found, Row, say, table
from tests.benchmarks.sizes import Sizes

WIDTHS = (32, 48, 96)
JUDGED, WANTED = 48, 20.0


def measure(sizes: Sizes) -> Found:
    """Measure side networks of some widths that read all blocks."""
    with tempfile.TemporaryDirectory() as name:
        context = context_of(Path(name), changes={"data.rows": sizes.step_rows})
        n_layers, engine = context.backbone.shape.n_layers, context.engine
        batch_size = context.study.training.batch_size
        everywhere = lora(n_layers, 0)

        def steps(structure: Structure) -> Steps:
            rows = context.train
            if structure.spec.boundaries:
                rows = recalled(context, structure, engine, Path(name) / "cache")
            return our_steps(context, structure, engine, batches(rows, batch_size, alike=True))

        structures = [everywhere, *(side_network(n_layers, width) for width in WIDTHS)]
        speeds = in_turns({structure.name: steps(structure) for structure in structures})
    base = speeds[everywhere.name]
    lines = [(name, f"{speed:.0f}", f"{speed / base:.1f}") for name, speed in speeds.items()]
    say(table(lines, ("structure", "samples/s", "times LoRA in all blocks")))
    rows = [
        Row(
            name=f"steps of a side network of width {width} to steps of LoRA in all blocks",
            measured=speeds[side_network(n_layers, width).name] / base,
            unit="times",
            at_least=WANTED if width == JUDGED else None,
        )
        for width in WIDTHS
    ]
    return Found(rows=rows, details=speeds)


def side_network(n_layers: int, width: int) -> Structure:
    """Return the side network of a width that reads behind every block."""
    side = Side(width=width, boundaries=tuple(range(1, n_layers + 1)))
    return Structure(
        name=f"side network of width {width}",
        spec=AdapterSpec(depth=n_layers, side=side),
        learning=Learning(learning_rate=3e-3, head_learning_rate=1e-2),
    )
