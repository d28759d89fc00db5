"""Where an export can be served, with the reason: said in its proof and in its card.

What is said of vLLM and TensorRT-LLM was not tried: neither runs on the machines of our tests. The
families are those that both are known to serve, and the rule for alpha is the cautious one.
"""

from dataclasses import dataclass

from space.adapter import Adapter
from space.spec import AdapterSpec
from trainers.bundle import BundleConfig
from trainers.families import Family

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's `--max-lora-rank` may be: the least one that is not below the rank is given."""
_VLLM_FAMILIES = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma")
_VLLM_LORA_FAMILIES = tuple(name for name in _VLLM_FAMILIES if name != "gpt2")
_TENSORRT_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
_LIBRARIES = {
    "transformers": "merged",
    "PEFT": "peft",
    "ONNX Runtime": "onnx",
    "OpenVINO": "openvino",
}
"""For each library that needs nothing of ours the format that it loads."""


@dataclass(frozen=True)
class Verdict:
    """Whether an export can be served somewhere."""

    served: bool
    reason: str


def served(config: BundleConfig, family: Family, form: str) -> dict[str, Verdict]:
    """Return the verdict for each place, by its name.

    Args:
        config: of the structure, which the format can express.
        family: of its backbone.
        form: name of the format.
    """
    verdicts = {
        library: Verdict(True, "loads the folder as it stands, as the code below does")
        if form == own
        else Verdict(False, f"loads another format: `--format {own}`, where it can be expressed")
        for library, own in _LIBRARIES.items()
    }
    verdicts["vLLM"] = _vllm(config, family, form)
    verdicts["TensorRT-LLM"] = _tensorrt(config, family, form)
    verdicts["Paradapt alone"] = _ours_alone(form, verdicts)
    return verdicts


def _vllm(config: BundleConfig, family: Family, form: str) -> Verdict:
    reason = _not_writing(config, family, form, _VLLM_FAMILIES, "vLLM")
    if reason is not None:
        return Verdict(False, reason)
    if form == "merged":
        return Verdict(True, "loads the folder as a model of its own (not tried here)")
    if family.model_type not in _VLLM_LORA_FAMILIES:
        return Verdict(False, f"has no LoRA for {family.model_type}; `--format merged` needs none")
    reason = _not_one_lora(config.spec)
    if reason is not None:
        return Verdict(False, reason)
    rank = config.spec.adapters[0].rank
    assert rank is not None
    allowed = next((limit for limit in VLLM_RANKS if limit >= rank), None)
    if allowed is None:
        return Verdict(False, f"its LoRA ranks end at {VLLM_RANKS[-1]}, and this one is {rank}")
    return Verdict(True, f"with `--enable-lora --max-lora-rank {allowed}` {_ON_CUT}")


_ON_CUT = "on the backbone cut to this depth, as `--offline` writes it (not tried here)"


def _tensorrt(config: BundleConfig, family: Family, form: str) -> Verdict:
    reason = _not_writing(config, family, form, _TENSORRT_FAMILIES, "TensorRT-LLM")
    if reason is None and form == "peft":
        reason = _not_one_lora(config.spec)
    if reason is not None:
        return Verdict(False, reason)
    if form == "merged":
        return Verdict(True, "loads the folder as a model of its own (not tried here)")
    rank = config.spec.adapters[0].rank
    return Verdict(True, f"with `max_lora_rank={rank}` {_ON_CUT}")


def _not_writing(
    config: BundleConfig, family: Family, form: str, families: tuple[str, ...], place: str
) -> str | None:
    """Return why a server of language models cannot load an export; None: it may."""
    if config.what.head != "lm":
        return f"serves models that write text; this one was trained for {config.task}"
    if form not in ("merged", "peft"):
        return "loads `--format merged` or `--format peft`, where they can be expressed"
    if family.model_type not in families:
        return f"is not known to serve the family {family.model_type}"
    return None


def _not_one_lora(spec: AdapterSpec) -> str | None:
    """Return why a server that reads one rank and one alpha cannot load an adapter."""
    if any(adapter.kind != "lora" for adapter in spec.adapters):
        return f"serves LoRA only, and this is {spec.adapters[0].kind}"
    if len({_size(adapter) for adapter in spec.adapters}) > 1:
        return (
            "reads one rank and one alpha for all layers, and here they differ; `--format merged`"
            " has none"
        )
    return None


def _size(adapter: Adapter) -> tuple[int | None, float | None, str]:
    return adapter.rank, adapter.alpha, adapter.scaling


def _ours_alone(form: str, verdicts: dict[str, Verdict]) -> Verdict:
    others = [name for name, verdict in verdicts.items() if verdict.served]
    if others:
        return Verdict(False, f"not needed: {', '.join(others)} can")
    if form == "mlflow":
        return Verdict(True, "MLflow's server runs Paradapt's code, which the folder carries")
    return Verdict(True, "nothing else loads this format: `paradapt predict`")
