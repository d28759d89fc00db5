"""Read a model's config, tokenizer and weights with transformers: safetensors, and no code."""

import logging
from collections.abc import Mapping
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

from space.errors import UserError, close_matches
from trainers.backbone_source import BUNDLED
from trainers.families import FAMILIES

_ENCODERS = {"t5": T5EncoderModel}  # families of which AutoModel would load a decoder too


def load_config(name: str, source: str, options: Mapping[str, bool]) -> Any:
    """Return the config of a model. Raises UserError where it is not there."""
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


def load_tokenizer(
    name: str, source: str, options: Mapping[str, bool], task: str
) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model, as a task needs it. Raises UserError where there is none."""
    # Byte-pair tokenizers take single words only if told to set a blank before each.
    words = {"add_prefix_space": True} if task == "token-classification" else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options, **words)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"backbone: {name!r} has no tokenizer that loads ({error}).") from error
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise UserError(f"backbone: {name!r} has no tokenizer.")
    return tokenizer


def check_vocabulary(name: str, tokenizer: PreTrainedTokenizerBase, n_embeddings: int) -> None:
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


def load_weights(
    name: str, source: str, config: Any, task: str, options: Mapping[str, bool]
) -> nn.Module:
    """Return a model in float32 with eager attention; of a language model with its head.

    Raises:
        UserError: the weights are not whole, or do not load.
    """
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
    missing = sorted(key for key in info["missing_keys"] if not is_in(key, unused))
    if missing:
        raise UserError(
            f"backbone: the weights of {name!r} lack {len(missing)} tensors ({missing[0]}, ...);"
            " they would be random. Save the whole model anew."
        )
    assert isinstance(model, nn.Module)
    return model


def is_in(key: str, parts: tuple[str, ...]) -> bool:
    """Return whether a weight is of one of these parts of the model."""
    return key.startswith(tuple(f"{part}." for part in parts))
