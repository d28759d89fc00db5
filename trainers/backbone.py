"""Load a frozen backbone: a bundled one, a local folder, or a Hugging Face model id."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, PreTrainedTokenizerBase

from space.cost import BackboneShape
from space.errors import UserError
from trainers.backbone_source import hub_answers, source_of
from trainers.families import FAMILIES, Family
from trainers.image_input import ImageInput, image_input
from trainers.loading import check_vocabulary, is_in, load_config, load_tokenizer, load_weights
from trainers.matching import family_of
from trainers.probe import sample_of
from trainers.shape import measure_shape

_NO_LIMIT = 10**6
_POSITIONS = ("max_position_embeddings", "n_positions")
_WITHOUT_LIMIT = ("t5",)  # positions relative to each other only


@dataclass(frozen=True, kw_only=True, eq=False)
class Backbone:
    """A frozen model in eval mode, shared by all trials and never changed by one."""

    name: str
    """As the study file names it."""
    model: nn.Module
    """The bare model, without any head."""
    tokenizer: PreTrainedTokenizerBase | None
    """None where it reads images."""
    image: ImageInput | None
    """What images it reads; None where it reads text."""
    lm_head: nn.Module | None
    """Hidden states to the vocabulary's logits; loaded for causal-lm only."""
    family: Family
    shape: BackboneShape
    fingerprint: str
    """SHA-256 over the names, shapes and bytes of all weights that can run."""
    max_tokens: int
    """The longest sequence that it has positions for."""

    @property
    def pad_id(self) -> int:
        """The token that fills short rows of a batch (masked, so any will do)."""
        return (self.tokenizer.pad_token_id or 0) if self.tokenizer is not None else 0

    @property
    def n_params(self) -> int:
        """How many frozen parameters the model has."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def n_vocabulary(self) -> int:
        """Width of the language-model head's answer."""
        assert self.lm_head is not None
        return int(self.lm_head.weight.shape[0])  # type: ignore[index]


def load_backbone(
    name: str, folder: Path | None = None, task: str = "text-classification"
) -> Backbone:
    """Load, check and freeze a backbone in float32.

    Only safetensors weights are read, and no code that comes with a model is run.

    Args:
        name: a bundled name, a local folder, or a Hugging Face model id.
        folder: what a relative path starts from.
        task: what it will be used for: for causal-lm its own head is loaded too.

    Raises:
        UserError: it is not there, not complete, not safetensors, of a family whose layers cannot
            be told, or of the wrong kind for the task.
    """
    source = source_of(name, folder or Path.cwd())
    options = {
        "local_files_only": Path(source).is_dir() or not hub_answers(),
        "trust_remote_code": False,
    }
    config = load_config(name, source, options)
    modality = _modality(config)
    _check_task(name, config.model_type, modality, task)
    reads_images = modality == "image"
    tokenizer = None if reads_images else load_tokenizer(name, source, options, task)
    if tokenizer is not None:
        check_vocabulary(name, tokenizer, config.get_text_config().vocab_size)
    whole = load_weights(name, source, config, task, options)
    whole.requires_grad_(False).eval()
    model = whole.base_model if task == "causal-lm" else whole
    assert isinstance(model, nn.Module)
    _check_inputs(name, model, modality)
    image = image_input(name, source, config) if reads_images else None
    family = family_of(name, model, config, image)
    if image is not None:
        image = replace(image, n_tokens=image.n_tokens - 1 + family.beside_patches)
    lm_head = None
    if task == "causal-lm":
        _check_causal(name, family.model_type, family.causal)
        lm_head = _lm_head(name, whole, model)
    return Backbone(
        name=name,
        model=model,
        tokenizer=tokenizer,
        image=image,
        lm_head=lm_head,
        family=family,
        shape=measure_shape(name, model, family, image),
        fingerprint=fingerprint(model, family.unused, lm_head),
        max_tokens=_max_tokens(config, family, model),
    )


def _modality(config: Any) -> str:
    """Return whether a model reads `text` or `image`s, before it is loaded."""
    known = FAMILIES.get(config.model_type)
    if known is not None:
        return known.modality
    return "image" if type(config) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING else "text"


def _check_task(name: str, model_type: str, modality: str, task: str) -> None:
    """Raise UserError where a task is not for what a model reads."""
    if (modality == "image") != (task == "image-classification"):
        raise UserError(
            f"backbone: {name!r} ({model_type}) reads {modality}s, which does not go with the task"
            f" {task!r}." + (" Write `task: image-classification`." if modality == "image" else "")
        )
    known = FAMILIES.get(model_type)
    if task == "causal-lm" and known is not None:
        _check_causal(name, model_type, known.causal)


def _check_causal(name: str, model_type: str, causal: bool) -> None:
    if not causal:
        raise UserError(
            f"backbone: {name!r} ({model_type}) sees later tokens too, so it cannot be trained to"
            " write text; causal-lm needs a causal family such as gpt2, llama, qwen3 or gemma."
        )


def _check_inputs(name: str, model: nn.Module, modality: str) -> None:
    wanted = "input_ids" if modality == "text" else "pixel_values"
    if model.main_input_name != wanted:
        raise UserError(
            f"backbone: {name!r} reads {model.main_input_name}; only text (input_ids) and images"
            " (pixel_values) are served."
        )


@torch.no_grad()
def _lm_head(name: str, whole: Any, model: nn.Module) -> nn.Module:
    """Return a language model's head, having seen that nothing else makes its answer."""
    head = whole.get_output_embeddings()
    sample = sample_of(None)
    whole_answer = whole(**sample).logits
    if not torch.allclose(head(model(**sample)[0]), whole_answer, atol=1e-4, rtol=1e-4):
        raise UserError(
            f"backbone: the language-model head of {name!r} is more than one linear layer (its"
            " logits are scaled or bounded, or pass further layers); unsupported for causal-lm."
        )
    assert isinstance(head, nn.Module)
    return head


def _max_tokens(config: Any, family: Family, model: Any) -> int:
    if family.model_type in _WITHOUT_LIMIT:
        return _NO_LIMIT
    known = [getattr(config, name) for name in _POSITIONS if getattr(config, name, None)]
    before_first = model.embeddings.padding_idx + 1 if family.positions_after_padding else 0
    return int(known[0]) - before_first if known else _NO_LIMIT


def fingerprint(
    model: nn.Module, unused: tuple[str, ...] = (), lm_head: nn.Module | None = None
) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of a model's weights.

    Args:
        model: whose weights are read.
        unused: parts that are left out: where a model was saved without them, they are random.
        lm_head: the head beside it; what it shares with the model counts once.
    """
    weights = {k: v for k, v in model.state_dict().items() if not is_in(k, unused)}
    if lm_head is not None:
        shared = {tensor.data_ptr() for tensor in weights.values()}
        own = lm_head.state_dict().items()
        weights |= {f"lm_head.{k}": v for k, v in own if v.data_ptr() not in shared}
    digest = hashlib.sha256()
    for key, tensor in sorted(weights.items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
