"""The offline kit of an export: the backbone and our own code in its folder.

With it the folder answers on a machine that has no hub, no network and no Paradapt: only the
libraries of its requirements.txt have to be there.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

import space
import trainers
from space.errors import UserError
from trainers.backbone import Backbone
from trainers.image_input import CONFIG_FILE, ImageInput
from trainers.loading import is_in

BACKBONE = "backbone"
CODE = "code"
_BYTES_OF_WHITE = 255
_COUNTS = ("layer", "layers", "block", "blocks", "experts")
"""How names in a config end that say how many modules there are."""


def write_kit(folder: Path, backbone: Backbone) -> None:
    """Write the folders `backbone` and `code`.

    Args:
        folder: of the export.
        backbone: as it was loaded; left as it is.

    Raises:
        OSError: they cannot be written.
    """
    write_backbone(folder / BACKBONE, backbone)
    write_code(folder / CODE)


def write_backbone(folder: Path, backbone: Backbone) -> None:
    """Write a backbone, so that trainers.backbone.load_backbone reads it with the same fingerprint.

    These are config.json, model.safetensors (float32), and the files of the tokenizer or of the
    image processor; nothing else of what lay beside them at its source.

    Args:
        folder: is made.
        backbone: as it was loaded; left as it is.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True)
    model: Any = backbone.model
    model.config.save_pretrained(folder)
    # Stock loaders look for what wrote the tensors.
    save_file(_weights(backbone), folder / "model.safetensors", metadata={"format": "pt"})
    if backbone.tokenizer is not None:
        backbone.tokenizer.save_pretrained(folder)
    if backbone.image is not None:
        text = json.dumps(_preprocessor(backbone.image), indent=2)
        (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def check_backbone(folder: Path) -> None:
    """Raise UserError unless a backbone of a kit has a tensor at least for each of its blocks.

    Transformers makes all the blocks that config.json claims before it looks for their weights.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            n_tensors = len(file.keys())
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise UserError(f"{folder}: the backbone does not load ({error}).") from error
    for name, value in _numbers(config):
        if value > n_tensors and name.endswith(_COUNTS):
            raise UserError(
                f"{path}: `{name}` is {value:.3g}, but the weights are {n_tensors} tensors."
            )


def _numbers(data: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield all numbers in plain data with the names that they stand under."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _numbers(value, key)
    elif isinstance(data, list):
        for value in data:
            yield from _numbers(value, name)
    elif isinstance(data, (int, float)):
        yield name, data


def _weights(backbone: Backbone) -> dict[str, Tensor]:
    """Return the weights that can run, each once, by the names that the whole model has."""
    model: Any = backbone.model
    whole, before = model, ""
    auto: Any = AutoModelForCausalLM
    if backbone.lm_head is not None:
        with torch.device("meta"):  # its own weights are replaced at once
            whole = auto.from_config(model.config)
        before = f"{whole.base_model_prefix}."
        setattr(whole, whole.base_model_prefix, model)
        whole.set_output_embeddings(backbone.lm_head)
    unused = tuple(before + part for part in backbone.family.unused)
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in whole.state_dict().items():
        if not is_in(name, unused):
            # Embedding and head may be one matrix; the first name is the one that is loaded.
            found.setdefault(tensor.data_ptr(), (name, tensor.contiguous()))
    return dict(found.values())


def _preprocessor(image: ImageInput) -> dict[str, Any]:
    height, width = image.size
    return {
        "do_resize": True,
        "size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / _BYTES_OF_WHITE,
        "do_normalize": True,
        "image_mean": list(image.mean),
        "image_std": list(image.std),
    }


def write_code(folder: Path) -> None:
    """Write the Python files of the packages space and trainers, to be put on PYTHONPATH.

    Raises:
        OSError: they cannot be written.
    """
    for package in (space, trainers):
        assert package.__file__ is not None
        source = Path(package.__file__).parent
        for path in sorted(source.rglob("*.py")):
            target = folder / package.__name__ / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
