"""Load a frozen backbone: a bundled one, a local folder, or a Hugging Face model id."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    T5EncoderModel,
)
from transformers.utils import logging as transformers_logging

from space.cost import BackboneShape
from space.errors import UserError, close_matches
from trainers.backbone_source import BUNDLED, hub_answers, source_of
from trainers.families import FAMILIES, Family
from trainers.image_input import ImageInput, image_input
from trainers.matching import family_of
from trainers.shape import measure_shape

_NO_LIMIT = 10**6
_POSITIONS = ("max_position_embeddings", "n_positions")
_WITHOUT_LIMIT = ("t5",)  # positions relative to each other only
_ENCODERS = {"t5": T5EncoderModel}  # families of which AutoModel would load a decoder too


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
    config = _load_config(name, source, options)
    _check_task(name, config.model_type, task)
    reads_images = _reads_images(config)
    tokenizer = None if reads_images else _load_tokenizer(name, source, options, task)
    if tokenizer is not None:
        _check_vocabulary(name, tokenizer, config.vocab_size)
    whole = _load_weights(name, source, config, task, options)
    whole.requires_grad_(False).eval()
    model = whole.base_model if task == "causal-lm" else whole
    assert isinstance(model, nn.Module)
    family = family_of(name, model, config)
    image = image_input(name, source, config) if reads_images else None
    n_patches = None if image is None else image.n_tokens - 1
    return Backbone(
        name=name,
        model=model,
        tokenizer=tokenizer,
        image=image,
        lm_head=whole.get_output_embeddings() if task == "causal-lm" else None,  # type: ignore[operator]
        family=family,
        shape=measure_shape(name, model, family, n_patches),
        fingerprint=fingerprint(model, family.unused),
        max_tokens=_max_tokens(config, family, model),
    )


def _check_task(name: str, model_type: str, task: str) -> None:
    """Raise UserError where a known family cannot serve a task."""
    family = FAMILIES.get(model_type)
    if family is None:
        return
    if (family.modality == "image") != (task == "image-classification"):
        raise UserError(
            f"backbone: {name!r} ({model_type}) reads {family.modality}s, which does not go with"
            f" the task {task!r}."
            + (" Write `task: image-classification`." if family.modality == "image" else "")
        )
    if task == "causal-lm" and not family.causal:
        raise UserError(
            f"backbone: {name!r} ({model_type}) sees later tokens too, so it cannot be trained to"
            " write text; causal-lm needs a causal family such as gpt2, llama, qwen3 or gemma."
        )


def _reads_images(config: Any) -> bool:
    family = FAMILIES.get(config.model_type)
    return family.modality == "image" if family else not hasattr(config, "vocab_size")


def _max_tokens(config: Any, family: Family, model: Any) -> int:
    if family.model_type in _WITHOUT_LIMIT:
        return _NO_LIMIT
    known = [getattr(config, name) for name in _POSITIONS if getattr(config, name, None)]
    before_first = model.embeddings.padding_idx + 1 if family.positions_after_padding else 0
    return int(known[0]) - before_first if known else _NO_LIMIT


def fingerprint(model: nn.Module, unused: tuple[str, ...] = ()) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of a model's weights.

    Args:
        model: whose weights are read.
        unused: parts that are left out: where a model was saved without them, they are random.
    """
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        if _is_in(key, unused):
            continue
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _is_in(key: str, parts: tuple[str, ...]) -> bool:
    return key.startswith(tuple(f"{part}." for part in parts))


def _load_config(name: str, source: str, options: Mapping[str, bool]) -> Any:
    try:
        return AutoConfig.from_pretrained(source, **options)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(_cannot_load(name, error)) from error


def _cannot_load(name: str, error: Exception) -> str:
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
    return (
        f"backbone: {name!r} is neither a bundled name ({', '.join(BUNDLED)}), nor a local folder,"
        " nor a Hugging Face model id that can be reached or stands in the local cache"
        f" ({first_line})." + close_matches(name, BUNDLED)
    )


def _load_tokenizer(
    name: str, source: str, options: Mapping[str, bool], task: str
) -> PreTrainedTokenizerBase:
    # Byte-pair tokenizers take single words only if told to set a blank before each.
    words = {"add_prefix_space": True} if task == "token-classification" else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options, **words)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"backbone: {name!r} has no tokenizer that loads ({error}).") from error
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise UserError(f"backbone: {name!r} has no tokenizer.")
    return tokenizer


def _check_vocabulary(name: str, tokenizer: PreTrainedTokenizerBase, n_embeddings: int) -> None:
    """Raise UserError unless the tokenizer has tokens, all of which the model can embed."""
    vocabulary = tokenizer.get_vocab()
    # Where a folder holds no tokenizer, transformers makes one that knows no word.
    if not vocabulary.keys() - set(tokenizer.all_special_tokens):
        raise UserError(
            f"backbone: {name!r} has no tokenizer with a vocabulary (tokenizer.json or vocab.txt)."
            " Save it beside the model with tokenizer.save_pretrained(...)."
        )
    highest = max(vocabulary.values())
    if highest >= n_embeddings:
        raise UserError(
            f"backbone: the tokenizer of {name!r} has token ids up to {highest}, but the model"
            f" embeds {n_embeddings} (0 to {n_embeddings - 1}). Give it the tokenizer that it was"
            " trained with."
        )


def _load_weights(
    name: str, source: str, config: Any, task: str, options: Mapping[str, bool]
) -> nn.Module:
    level = transformers_logging.get_verbosity()
    # Its report on heads that are not used is of no concern here, and ours tells what is missing.
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    loader: Any = _ENCODERS.get(config.model_type, AutoModel)
    if task == "causal-lm":
        loader = AutoModelForCausalLM
    try:
        model, info = loader.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            attn_implementation="eager",
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"backbone: the weights of {name!r} do not load ({error}).") from error
    finally:
        transformers_logging.set_verbosity(level)
        transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    family = FAMILIES.get(config.model_type)
    unused = ("pooler",) if family is None else family.unused
    missing = sorted(key for key in info["missing_keys"] if not _is_in(key, unused))
    if missing:
        raise UserError(
            f"backbone: the weights of {name!r} lack {len(missing)} tensors ({missing[0]}, ...);"
            " they would be random. Save the whole model anew."
        )
    assert isinstance(model, nn.Module)
    return model
