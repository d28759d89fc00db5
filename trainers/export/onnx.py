"""The format `onnx`: one graph for ONNX Runtime, in float32 or with eight-bit weights."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from trainers.export.format import Answer, Options, Source, Written
from trainers.export.graph import ANSWER, refusal_of_graph, write_graph
from trainers.export.int8 import quantise
from trainers.export.measuring import latencies, latencies_in_words, quality
from trainers.export.program import program, refusal_of_inputs, write_beside
from trainers.export.saving import saving, saving_in_words

MODEL = "model.onnx"
FLOAT32, INT8 = "float32 ONNX Runtime", "int8 ONNX Runtime"
_LOADING = (
    f'session = onnxruntime.InferenceSession("{MODEL}", providers=["CPUExecutionProvider"])',
)
_RUNNING = f'(logits,) = session.run(["{ANSWER}"], inputs)'


class Onnx:
    """model.onnx with the head inside, and what makes its inputs."""

    name = "onnx"
    options: frozenset[str] = frozenset({"int8"})

    def refusal(self, source: Source, options: Options) -> str | None:
        """Return what cannot be written as ONNX, found out by a trial; None: all can."""
        return refusal_of_inputs(source.bundle) or refusal_of_graph(source)

    def write(self, source: Source, folder: Path, options: Options) -> Written:
        """Write the graph, task.json, tokenizer.json and requirements.txt."""
        write_beside(source, folder, ("onnxruntime",))
        saved = saving(source)
        said = [program(source, "onnxruntime", _LOADING, _RUNNING), saving_in_words(source, saved)]
        if options.int8:
            facts = _write_int8(source, folder)
            said.append(_quality_in_words(source, facts))
        else:
            write_graph(source, folder / MODEL)
            facts = {"speed": latencies(source, {FLOAT32: session_answer(folder / MODEL)})}
        said.append(latencies_in_words(source, facts["speed"]))
        return Written(use=f"{_INTRODUCTION}\n\n" + "\n\n".join(said), facts={**saved, **facts})

    def opened(self, source: Source, folder: Path) -> Answer:
        """Return what ONNX Runtime makes of the file, on one core."""
        return session_answer(folder / MODEL)

    def tolerance(self, options: Options) -> float | None:
        """Return the rounding of float32 in other operators; eight bits have no bound."""
        return None if options.int8 else 1e-4


_INTRODUCTION = f"""`{MODEL}` takes the inputs and gives the logits: the head is inside, and batch
and length are open. `pip install -r requirements.txt`, and in this folder:"""


def session_answer(path: Path) -> Answer:
    """Return what a graph answers in ONNX Runtime on one core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(path, options, providers=providers)

    def answer(inputs: Mapping[str, Tensor]) -> Tensor:
        given = {name: tensor.numpy() for name, tensor in inputs.items()}
        return torch.from_numpy(session.run([ANSWER], given)[0])

    return answer


def _write_int8(source: Source, folder: Path) -> dict[str, Any]:
    """Write the graph with eight-bit weights; return what was measured of it and of float32."""
    with tempfile.TemporaryDirectory() as scratch:
        exact = Path(scratch) / MODEL
        write_graph(source, exact)
        n_products = quantise(exact, folder / MODEL)
        forms = {FLOAT32: session_answer(exact), INT8: session_answer(folder / MODEL)}
        before, after = (quality(source, form) for form in forms.values())
        speed = latencies(source, forms)
    return {
        "int8_products": n_products,
        "metric": source.bundle.config.what.metrics[0],
        "float32_value": before,
        "int8_value": after,
        "int8_difference": after - before,
        "speed": speed,
        "int8_speedup_over_float32": (speed[FLOAT32]["one_core_ms"] / speed[INT8]["one_core_ms"]),
    }


def _quality_in_words(source: Source, facts: Mapping[str, Any]) -> str:
    return f"""The weights of {facts["int8_products"]} linear layers have eight bits, all but the
head's. On all {len(source.rows)} held-out rows {facts["metric"]} is {facts["int8_value"]:.4f} with
them and {facts["float32_value"]:.4f} in float32: a difference of
{facts["int8_difference"]:+.4f}. It is {facts["int8_speedup_over_float32"]:.2f} times as fast as the
float32 graph."""
