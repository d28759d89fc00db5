"""The format `openvino`: OpenVINO gives the trained model's logits, and nothing leaves.

A process that OpenVINO has computed in crashes at a signal that comes later, so that other tests
must not share it: of the quick tests test_openvino_apart.py runs some of these in its own.
"""

import sys
from dataclasses import replace

import pytest
import torch

from space.errors import UserError
from tests.trainers.export.graphs import MIXED, SPECS, assert_answers_as_trained, run_programs
from tests.trainers.export.sources import backbone_for, export, source_of
from tests.trainers.learnable import LESSONS
from tests.trainers.tiny import structure
from trainers.export.openvino import OpenVino, openvino

pytestmark = pytest.mark.slow

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


def independent(folder):
    """What OpenVINO makes of the files, with nothing of ours."""
    model = openvino.Core().compile_model(folder / "openvino_model.xml", "CPU", EXACT)

    def answer(inputs):
        found = model({name: tensor.numpy() for name, tensor in inputs.items()})
        return torch.from_numpy(found[0].copy())

    return answer


def spec_for(lesson, name):
    spec = SPECS[name]
    return replace(spec, pooling="none") if LESSONS[lesson].task.head != "sequence" else spec


CASES = {
    "class": "full",
    "number": "row-experts",
    "tags": "token-experts",
    "pair": "plain",
    "classes": "side",
    "image": "skips",
    "next": "plain",
}
"""For each task a structure, so that each kind of part is in one."""


@pytest.fixture(scope="module")
def exported(tiny_folders, tmp_path_factory):
    """A structure of every task exported, and what the program of its card made of it."""
    root = tmp_path_factory.mktemp("openvino")
    sources = {}
    for lesson, name in CASES.items():
        spec = spec_for(lesson, name)
        sources[lesson] = source_of(lesson, backbone_for(lesson, tiny_folders), spec)
        export(OpenVino(), sources[lesson], root / lesson)
    return root, sources, run_programs([root / lesson for lesson in CASES])


@pytest.mark.parametrize("lesson", sorted(CASES))
def test_openvino_answers_as_the_trained_model(lesson, exported):
    assert_answers_as_trained(exported[1][lesson], independent(exported[0] / lesson))


@pytest.mark.parametrize("lesson", sorted(CASES))
def test_the_program_of_the_card_answers_as_the_trained_model(lesson, exported):
    own = exported[2][lesson]
    inputs = {name: torch.tensor(values) for name, values in own["inputs"].items()}
    with torch.no_grad():
        wanted = exported[1][lesson].bundle.model(**inputs)
    torch.testing.assert_close(torch.tensor(own["logits"]), wanted, atol=1e-4, rtol=1e-4)
    assert own["said"].strip()


@pytest.mark.parametrize("family", ["llama", "t5", "deberta-v2"])
def test_other_families(family, tiny_backbones, tmp_path):
    source = source_of("class", tiny_backbones[family], structure(3, (0, 2), MIXED))
    proof = export(OpenVino(), source, tmp_path / "out")
    assert proof["largest_difference"] < 1e-4
    assert proof["served"]["OpenVINO"]["served"]
    assert set(proof["speed"]) == {"float32 torch", "float32 OpenVINO", "bfloat16 OpenVINO"}


def test_a_folder_holds_what_a_stranger_needs_and_no_more(exported):
    names = {path.name for path in (exported[0] / "class").iterdir()}
    files = {"openvino_model.xml", "openvino_model.bin", "task.json", "tokenizer.json"}
    assert names == files | {"requirements.txt", "README.md", "proof.json", "SHA256SUMS"}
    needed = (exported[0] / "class" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line.partition("==")[0] for line in needed] == ["numpy", "tokenizers", "openvino"]


def test_importing_it_loads_nothing_that_sends():
    assert sys.modules.get("openvino_telemetry") is None
    assert "openvino.tools.ovc.telemetry_stub" in sys.modules


def test_int8_is_refused_with_its_reason(tiny_bert, tmp_path):
    source = source_of("class", tiny_bert, SPECS["head-only"])
    with pytest.raises(UserError, match=r"made by the library nncf.*--format onnx --int8"):
        export(OpenVino(), source, tmp_path / "out", int8=True)
    assert list(tmp_path.iterdir()) == []
