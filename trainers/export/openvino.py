"""The format `openvino`: OpenVINO's own form of the graph, for Intel's edge machines.

The ONNX graph is read by OpenVINO's runtime in C++, as its Python converter would send telemetry.
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainers.export.format import Answer, Options, Source, Written
from trainers.export.graph import ANSWER, refusal_of_graph, write_graph
from trainers.export.measuring import latencies, latencies_in_words
from trainers.export.program import program, refusal_of_inputs, write_beside
from trainers.export.saving import saving, saving_in_words

# Its import alone would send a message to its makers; without this part of it, it is silent.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402

MODEL = "openvino_model.xml"
FLOAT32, BFLOAT16 = "float32 OpenVINO", "bfloat16 OpenVINO"
_PRECISION = "INFERENCE_PRECISION_HINT"
_FIRST = (
    "import sys",
    "",
    'sys.modules["openvino_telemetry"] = None  # else the next import sends a message',
)
_LOADING = (
    f'exact = {{"{_PRECISION}": "f32"}}  # "bf16": faster where the processor has it, less exact',
    f'model = openvino.Core().compile_model("{MODEL}", "CPU", exact)',
)
_RUNNING = f'logits = model(inputs)["{ANSWER}"]'
_NO_INT8 = (
    "OpenVINO's weights in eight bits are made by the library nncf, which Paradapt does not use."
    " Use `--format onnx --int8`, or leave --int8 out: OpenVINO computes in bfloat16 where the"
    " processor can."
)


class OpenVino:
    """openvino_model.xml and .bin with the head inside, and what makes its inputs."""

    name = "openvino"
    options: frozenset[str] = frozenset({"int8"})

    def refusal(self, source: Source, options: Options) -> str | None:
        """Return what cannot be written, found out by a trial; None: all can."""
        if options.int8:
            return _NO_INT8
        return refusal_of_inputs(source.bundle) or refusal_of_graph(source)

    def write(self, source: Source, folder: Path, options: Options) -> Written:
        """Write the graph in float32, task.json, tokenizer.json and requirements.txt."""
        with tempfile.TemporaryDirectory() as scratch:
            exact = Path(scratch) / "model.onnx"
            write_graph(source, exact)
            graph = openvino.Core().read_model(exact)
            openvino.save_model(graph, folder / MODEL, compress_to_fp16=False)
            del graph  # it may hold the file
        write_beside(source, folder, ("openvino",))
        saved = saving(source)
        forms = {
            name: compiled_answer(folder / MODEL, hint)
            for name, hint in ((FLOAT32, "f32"), (BFLOAT16, "bf16"))
        }
        facts = {"speed": latencies(source, forms)}
        said = (
            _INTRODUCTION,
            program(source, "openvino", _LOADING, _RUNNING, first=_FIRST),
            saving_in_words(source, saved),
            latencies_in_words(source, facts["speed"]),
        )
        return Written(use="\n\n".join(said), facts={**saved, **facts})

    def opened(self, source: Source, folder: Path) -> Answer:
        """Return what OpenVINO makes of the files in float32, on one core."""
        return compiled_answer(folder / MODEL, "f32")

    def tolerance(self, options: Options) -> float:
        """Return the rounding of float32 in other operators."""
        return 1e-4


_INTRODUCTION = f"""`{MODEL}` takes the inputs and gives the logits: the head is inside, and batch
and length are open. `pip install -r requirements.txt`, and in this folder:"""


def compiled_answer(path: Path, precision: str) -> Answer:
    """Return what a graph answers in OpenVINO on one core.

    Args:
        path: of the .xml file.
        precision: `f32` or `bf16`.
    """
    config: dict[str, Any] = {_PRECISION: precision, "INFERENCE_NUM_THREADS": 1}
    model = openvino.Core().compile_model(path, "CPU", config)

    def answer(inputs: Mapping[str, Tensor]) -> Tensor:
        found = model({name: tensor.numpy() for name, tensor in inputs.items()})
        return torch.from_numpy(found[ANSWER].copy())

    return answer
