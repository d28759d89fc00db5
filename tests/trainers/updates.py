"""Updates of a BERT-like backbone that tests make themselves, each saved as a hub would hold it."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertForMaskedLM
from transformers.utils import logging as transformers_logging

MASKED_SHARE = 0.15


def _save(model: nn.Module, source: Path, folder: Path) -> Path:
    transformers_logging.disable_progress_bar()
    model.save_pretrained(folder)
    transformers_logging.enable_progress_bar()
    for pattern in ("*token*.json", "vocab*", "preprocessor_config.json"):
        for path in source.glob(pattern):
            shutil.copy(path, folder / path.name)
    return folder


def _load(source: Path) -> Any:
    return AutoModel.from_pretrained(source, local_files_only=True, dtype=torch.float32)


def shaken(source: Path, folder: Path, *, spread: float = 0.05, seed: int = 0) -> Path:
    """Save the model with a little noise on every matrix, as a share of its own spread."""
    model, draw = _load(source), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight += spread * weight.std() * torch.randn(weight.shape, generator=draw)
    return _save(model, source, folder)


def pretrained_further(
    source: Path,
    folder: Path,
    texts: Sequence[str],
    *,
    steps: int,
    rate: float = 1e-4,
    max_length: int = 16,
    seed: int = 0,
) -> Path:
    """Save the model after some steps of masked-language-model training on texts."""
    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = AutoConfig.from_pretrained(source, local_files_only=True)
        whole = BertForMaskedLM(config)
        whole.bert.load_state_dict(_load(source).state_dict(), strict=False)
        whole.train()
        optimizer = torch.optim.AdamW(whole.parameters(), lr=rate)
        for step in range(steps):
            chosen = [texts[(step * 32 + i) % len(texts)] for i in range(32)]
            batch = tokenizer(
                chosen, truncation=True, max_length=max_length, padding=True, return_tensors="pt"
            )
            ids = batch["input_ids"]
            plain = batch["attention_mask"].bool() & (ids > 999)  # none of the special tokens
            masked = plain & (torch.rand(ids.shape) < MASKED_SHARE)
            batch["input_ids"] = ids.masked_fill(masked, tokenizer.mask_token_id)
            optimizer.zero_grad()
            # The vocabulary is wide: words are guessed where they are masked, and nowhere else.
            guesses = whole.cls(whole.bert(**batch)[0][masked])
            functional.cross_entropy(guesses, ids[masked]).backward()
            optimizer.step()
    return _save(whole.bert, source, folder)


def without_blocks(source: Path, folder: Path, removed: Sequence[int]) -> Path:
    """Save the model without some of its blocks."""
    model = _load(source)
    kept = [b for i, b in enumerate(model.encoder.layer) if i not in removed]
    model.encoder.layer = nn.ModuleList(kept)
    model.config.num_hidden_layers = len(kept)
    return _save(model, source, folder)


def wider(source: Path, folder: Path, *, factor: float = 1.5, seed: int = 0) -> Path:
    """Save a model of the same family and depth that is so many times as wide, with new weights."""
    config = AutoConfig.from_pretrained(source, local_files_only=True)
    config.hidden_size = round(config.hidden_size * factor)
    config.intermediate_size = round(config.intermediate_size * factor)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModel.from_config(config)
    return _save(model, source, folder)
