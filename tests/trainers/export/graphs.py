"""Structures for the tests of exported graphs, and the programs of their cards by themselves."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import torch

from space.adapter import TokenSkip
from space.side import Side
from space.spec import AdapterSpec
from tests.end_to_end.tiny_study import environment
from tests.trainers.explain.bundles import adapter
from trainers.export.format import Answer, Source

MIXED = {"query": "lora", "ffn": "bottleneck", "attention": "parallel", "value": "ia3"}

SPECS = {
    "plain": AdapterSpec(
        depth=2,
        adapters=(
            adapter(0, "query", "lora"),
            adapter(0, "attention", "bottleneck"),
            adapter(1, "ffn", "parallel"),
            adapter(1, "key", "ia3"),
        ),
    ),
    "full": AdapterSpec(
        depth=4,
        adapters=(
            adapter(1, "value", "lora"),
            adapter(2, "attention", "prefix"),
            adapter(3, "ffn", "bottleneck"),
            adapter(3, "attention", "parallel"),
        ),
        pooling="attention",
    ),
    "token-experts": AdapterSpec(
        depth=3,
        adapters=(
            adapter(1, "query", "lora", experts=4),
            adapter(2, "ffn", "bottleneck", experts=4, top_k=2),
        ),
    ),
    "row-experts": AdapterSpec(
        depth=4,
        adapters=(
            adapter(2, "query", "lora", experts=4, router="sequence"),
            adapter(3, "ffn", "parallel", experts=4, top_k=2, router="sequence"),
        ),
    ),
    "skips": AdapterSpec(
        depth=4,
        adapters=(adapter(1, "value", "lora"),),
        skips=(
            TokenSkip(layer=2, token_keep=0.5, rank=3),
            TokenSkip(layer=3, token_keep=0.75, rank=3),
        ),
        pooling="cls",
    ),
    "side": AdapterSpec(depth=3, side=Side(width=8, boundaries=(1, 2, 3))),
    "exits": AdapterSpec(depth=4, adapters=(adapter(2, "value", "lora"),), exits=(1, 3)),
    "head-only": AdapterSpec(depth=1),
}
"""Structures of every kind of part, at cut and at full depth."""

# `-I`: neither the working directory nor PYTHONPATH is looked in. What is installed beside them is
# refused by name, as a user of an edge box has neither.
_SCRIPT = """
import contextlib, io, json, os, sys

FOREIGN = ("space", "trainers", "search", "torch", "transformers", "pickle5")

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FOREIGN:
            raise ImportError(f"{name} is not for this process")

sys.meta_path.insert(0, Refuse())
found = {}
for folder, code in json.loads(sys.argv[1]).items():
    os.chdir(folder)
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(code, folder, "exec"), names)
    own = {"said": said.getvalue(), "logits": names["logits"].tolist()}
    own["inputs"] = {name: array.tolist() for name, array in names["inputs"].items()}
    found[folder] = own
assert not set(FOREIGN) & set(sys.modules), set(FOREIGN) & set(sys.modules)
assert sys.modules.get("openvino_telemetry") is None
print(json.dumps(found))
"""


def run_programs(folders: list[Path]) -> dict[str, dict[str, Any]]:
    """Run the program of each card as it stands, in its folder; return what it made and said.

    Returns:
        By the folder's name: `said` on standard output, `logits` and `inputs`.
    """
    jobs = {}
    for folder in folders:
        card = (folder / "README.md").read_text(encoding="utf-8")
        (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        jobs[str(folder)] = code
    done = subprocess.run(
        [sys.executable, "-I", "-c", _SCRIPT, json.dumps(jobs)],
        cwd=Path(sys.executable).anchor,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {Path(folder).name: own for folder, own in json.loads(done.stdout).items()}


def assert_answers_as_trained(source: Source, answer: Answer) -> None:
    """Compare an export with the trained model on batches of several sizes and lengths."""
    table = source.rows
    by_length = numpy.argsort(table.lengths, kind="stable")
    batches = (by_length[:1], by_length[-1:], by_length[[0, -1]], by_length[3:8], by_length)
    for rows in batches:
        inputs = table.collate(rows).inputs
        with torch.no_grad():
            wanted = source.bundle.model(**inputs)
        real = inputs["attention_mask"].bool() if wanted.dim() == 3 else ...
        torch.testing.assert_close(answer(inputs)[real], wanted[real], atol=1e-4, rtol=1e-4)
    assert wanted[real].std(0).min() > 1e-3, "the rows differ in their answers"
