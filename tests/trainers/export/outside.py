"""Run the code of exports' cards in a process that knows nothing of our packages."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.end_to_end.tiny_study import environment
from trainers.data import encode, unlabelled
from trainers.export.format import Source
from trainers.export.reading import EXAMPLES, reduced

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)

# Isolated (`-I`): neither the working directory nor PYTHONPATH is looked in. The development
# install of our packages is on the path all the same, so that they are refused by name.
SCRIPT = """
import json, os, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("space", "trainers", "search"):
            raise ImportError(f"{name} is not for this process")

sys.meta_path.insert(0, Refuse())
import torch
from safetensors.torch import load_file, save_file
torch.set_num_threads(1)

for job in json.loads(sys.argv[1]):
    os.chdir(job["folder"])
    names = {}
    for number, code in enumerate(job["blocks"]):
        exec(compile(code, f"block {number} of {job['folder']}", "exec"), names)
        if number == 0:
            first = dict(names)
    found = {f"inputs.{name}": t.contiguous() for name, t in first["inputs"].items()}
    found["logits"] = first["logits"].contiguous()
    for number, model in enumerate((first["model"], names["model"])):
        rows = load_file(job["rows"])
        if job["offset"] is not None:
            ids = rows["input_ids"]
            rows["position_ids"] = torch.arange(ids.shape[1]).expand(ids.shape) + job["offset"]
        with torch.no_grad():
            found[f"rows.{number}"] = model(**rows).logits.contiguous()
    save_file(found, job["answers"])
ours = [name for name in sys.modules if name.partition(".")[0] in ("space", "trainers", "search")]
assert not ours, ours
"""


def run_cards(
    exports: Mapping[Path, Source],
    scratch: Path,
    offset: Callable[[Source], int | None] = lambda _: None,
) -> dict[Path, dict[str, Tensor]]:
    """Execute the code of each export's card as it stands, in its folder, and then some rows.

    Args:
        exports: the folders, and what they were written from.
        scratch: an empty folder.
        offset: what is added to the places of tokens for their positions; None gives none.

    Returns:
        For each folder `inputs.<name>` and `logits` of the card's own rows, and the raw logits of
        the source's first 16 rows: `rows.0` of the model of the first block, `rows.1` of the last.
    """
    jobs = []
    for number, (folder, source) in enumerate(exports.items()):
        rows, answers = scratch / f"rows-{number}", scratch / f"answers-{number}"
        save_file(source.rows.collate(range(16)).inputs, rows)
        card = (folder / "README.md").read_text(encoding="utf-8")
        job = {"folder": folder, "rows": rows, "answers": answers}
        jobs.append(
            {k: str(v) for k, v in job.items()}
            | {"blocks": BLOCK.findall(card), "offset": offset(source)}
        )
    done = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT, json.dumps(jobs)],
        cwd=scratch,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {Path(job["folder"]): load_file(job["answers"]) for job in jobs}


def assert_tokens_are_ours(source: Source, inputs: Mapping[str, Tensor]) -> None:
    """Compare what the card's tokenizer made of its rows with how a bundle reads them."""
    task, n_rows = source.bundle.config.what, len(inputs["input_ids"])
    rows: dict[str, Any] = {
        "text": EXAMPLES[:n_rows],
        "text_pair": EXAMPLES[n_rows - 1 :: -1],
        "words": [text.split() for text in EXAMPLES[:n_rows]],
    }
    split = unlabelled(task, {name: rows[name] for name in task.inputs})
    table = encode(split, task, source.bundle.backbone, source.bundle.config.max_length)
    wanted = table.collate(range(n_rows)).inputs
    assert wanted.keys() == inputs.keys()
    mask = wanted["attention_mask"]
    assert torch.equal(mask, inputs["attention_mask"])
    for name, ids in wanted.items():
        assert torch.equal(ids[mask == 1], inputs[name][mask == 1]), name


def assert_card_answers_as(source: Source, found: Mapping[str, Tensor]) -> None:
    """Compare what the card's code made of its rows, and of real rows, with the trained model."""
    model, pooling = source.bundle.model, source.bundle.config.spec.pooling
    inputs = {k.removeprefix("inputs."): v for k, v in found.items() if k.startswith("inputs.")}
    rows = source.rows.collate(range(16)).inputs
    with torch.no_grad():
        own, wanted = model(**inputs), model(**rows)
    if "input_ids" in inputs:
        assert_tokens_are_ours(source, inputs)
    of_tokens = wanted.dim() == 3
    real = inputs["attention_mask"].bool() if of_tokens else ...
    torch.testing.assert_close(found["logits"][real], own[real], **CLOSE)
    real = rows["attention_mask"].bool() if of_tokens else ...
    for number in (0, 1):
        answer = reduced(found[f"rows.{number}"], rows.get("attention_mask"), pooling)
        torch.testing.assert_close(answer[real], wanted[real], **CLOSE)
    assert wanted[real].std(0).min() > 1e-3, "the rows differ in their answers"
