"""What a coverage-led fuzzer makes up is read or refused, never answered with a traceback."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from space.adapter import Adapter
from space.spec import AdapterSpec
from tests.search.valid_study import VALID
from trainers.bundle_config import BundleConfig
from trainers.columns import Columns
from trainers.plain_yaml import as_yaml

ROOT = Path(__file__).parents[1]
N_INPUTS = 50_000
ROWS = "text,label\none row,a\nanother row,b\na third,a\na fourth,b\n"
CONFIG = BundleConfig(
    task="text-classification",
    backbone="minilm",
    backbone_fingerprint="0" * 64,
    labels=("a", "b"),
    columns=Columns(),
    scale=None,
    max_length=32,
    spec=AdapterSpec(
        depth=1, adapters=(Adapter(layer=0, role="query", kind="lora", rank=2, alpha=4.0),)
    ),
    exit_threshold=None,
    provenance={"study": "s", "trial": 3, "seed": 0},
)
SEEDS = {
    "study": yaml.safe_dump(VALID),
    "choice": "inference_gflops<=0.2",
    "table": ROWS,
    "bundle": as_yaml(CONFIG.to_dict()),
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("atheris") is None, reason="atheris is not installed (the extra `fuzz`)"
    ),
]


@pytest.mark.parametrize("target", SEEDS)
def test_whatever_it_makes_up_is_read_or_refused(target, tmp_path):
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    (seeds / "whole").write_text(SEEDS[target], encoding="utf-8")
    flags = (f"-atheris_runs={N_INPUTS}", "-timeout=20", "-seed=1", f"-artifact_prefix={tmp_path}/")
    done = subprocess.run(
        [sys.executable, "-m", "tests.coverage_fuzz", target, str(seeds), *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    (n_inputs,) = re.findall(r"Done (\d+) ", done.stderr)
    assert int(n_inputs) >= N_INPUTS
