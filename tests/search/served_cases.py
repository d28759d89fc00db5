"""Trained structures of each task as MLflow models, and what is asked of them."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
from PIL import Image

from search.mlflow_model import MlflowModel
from space.adapter import Adapter
from space.spec import AdapterSpec
from tests.trainers.explain.bundles import columns_of
from tests.trainers.export.sources import backbone_for, export, source_of
from tests.trainers.learnable import LESSONS, rows_of
from tests.trainers.tiny import N_LAYERS, adapter, save_tiny
from trainers.predict import predict

ROOT = Path(__file__).parents[2]


def structure(lesson, *adapters, depth=2, **parts):
    sequence = LESSONS[lesson].task.head == "sequence"
    pooling = "mean" if sequence else "none"
    return AdapterSpec(depth=depth, adapters=adapters, pooling=pooling, **parts)


EXPERTS = Adapter(
    layer=1, role="ffn", kind="parallel", rank=4, alpha=16.0, experts=3, top_k=2, router="token"
)
CASES = {
    "class of experts, with exits": ("class", structure("class", EXPERTS, exits=(1,))),
    "number of bottlenecks, at full depth": (
        "number",
        structure("number", adapter(2, "attention", "bottleneck"), depth=N_LAYERS),
    ),
    "tags of lora": ("tags", structure("tags", adapter(0, "query", "lora"))),
    "pair of parallel adapters": ("pair", structure("pair", adapter(1, "ffn", "parallel"))),
    "several labels of ia3": ("classes", structure("classes", adapter(1, "value", "ia3"))),
    "image of lora": ("image", structure("image", adapter(1, "value", "lora"))),
    "language of lora": ("next", structure("next", adapter(1, "query", "lora"))),
}


def source_for(case, folder):
    """The trained structure of a case, on a backbone that is written to `folder`."""
    lesson, spec = CASES[case]
    folders = {LESSONS[lesson].family: save_tiny(LESSONS[lesson].family, folder)}
    return source_of(lesson, backbone_for(lesson, folders), spec)


def written(case, place):
    """Write a case as an offline model to `place/model`; return what was trained.

    Its backbone is gone from where it came from.
    """
    source = source_for(case, place / "backbone")
    export(MlflowModel(), source, place / "model", offline=True)
    shutil.rmtree(place / "backbone")
    return source.bundle


def asked(case, n_rows=5):
    """Rows as a user has them, by the study's columns."""
    lesson, _ = CASES[case]
    inputs = rows_of(lesson, n_rows, seed=3).inputs
    columns = columns_of(lesson)
    rows = {
        columns.text_pair if name == "text_pair" else getattr(columns, name, columns.text): values
        for name, values in inputs.items()
    }
    if lesson == "image":
        rows = {"image": [as_png(pixels) for pixels in rows["image"]]}
    if lesson == "tags":
        rows = {"words": [list(words) for words in rows["words"]]}
    return pandas.DataFrame({name: list(values) for name, values in rows.items()})


def as_png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def right(bundle, case, n_rows=5):
    """What the trained structure itself answers, as plain data."""
    split = rows_of(CASES[case][0], n_rows, seed=3)
    found = predict(bundle, **split.inputs)
    return json.loads(found.to_json(orient="records", double_precision=15))


def alike(found, wanted):
    """Whether records are the same, numbers to rounding."""
    return len(found) == len(wanted) and all(
        own.keys() == other.keys() and all(_same(own[name], other[name]) for name in own)
        for own, other in zip(found, wanted, strict=True)
    )


def _same(found, wanted):
    if isinstance(wanted, float):
        return abs(found - wanted) <= 2e-6 * max(1, abs(wanted))
    return found == wanted


ALONE = """
import socket, sys

sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f)]
for name in ("space", "trainers", "search"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(name + " is there")
def refused(*words, **named):
    raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refused
"""


def environment():
    """No path, proxy, pytest or MLflow setting of ours."""
    kept = ("PATH", "LANG", "TMPDIR")
    here = {name: os.environ[name] for name in kept if name in os.environ}
    return here | {
        "OMP_NUM_THREADS": "1",
        "HOME": "/nonexistent",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run_alone(code, cwd):
    """What code prints where our packages are not installed and there is no network."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE + code],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
