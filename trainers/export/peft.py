"""The format `peft`: adapter_config.json and adapter_model.safetensors, as PEFT itself loads them.

Names and scales are written out for each layer, so that nothing depends on PEFT's defaults.
"""

from collections.abc import Mapping
from pathlib import Path

import peft
import torch
import transformers
from torch import Tensor

from trainers.backbone_source import BUNDLED
from trainers.bundle import LoadedBundle
from trainers.export.format import Answer, Options, Source, Written
from trainers.export.parts import first_where, not_blocks
from trainers.export.peft_layers import adapter_parts, position_offset, refusal_of, task_type
from trainers.export.reading import code, reduced, save_inputs
from trainers.export.stock import (
    NoStockError,
    Stock,
    bare_model,
    head_state,
    quietly,
    stock_config,
    stock_model,
    stock_of,
)
from trainers.weights import write_tensors

BACKBONE = "backbone"
"""The folder in the folder with the frozen weights, where they are asked for."""
_WAY_OUT = "Use `--format bundle`, which holds every structure{}."


class Peft:
    """The adapters and the head for PEFT; config.json says how deep the backbone is loaded."""

    name = "peft"
    options: frozenset[str] = frozenset({"offline"})

    def refusal(self, source: Source, options: Options) -> str | None:
        """Return the part that PEFT has no form of, or None."""
        bundle = source.bundle
        spec = bundle.config.spec
        mergeable = first_where(spec, lambda adapter: not adapter.mergeable) is None
        further = ", or `--format merged`" if mergeable and not_blocks(spec) is None else ""
        part = not_blocks(spec) or refusal_of(bundle)
        if part is None:
            try:
                stock_of(bundle)
            except NoStockError as error:
                part, further = str(error), ""
        return None if part is None else f"{part}. {_WAY_OUT.format(further)}"

    def write(self, source: Source, folder: Path, options: Options) -> Written:
        """Write adapter, config and tokenizer; with `offline` the frozen weights to the depth."""
        bundle = source.bundle
        stock = stock_of(bundle)
        config, tensors = adapter_parts(bundle, stock)
        if bundle.config.what.head != "lm":
            root = "base_model" if isinstance(config, peft.PrefixTuningConfig) else _ROOT
            tensors |= {f"{root}.{n}": t for n, t in head_state(bundle, stock).items()}
        config.base_model_name_or_path = BACKBONE if options.offline else _source(bundle)
        config.inference_mode = True
        with quietly():
            config.save_pretrained(str(folder))
            write_tensors(tensors, folder / "adapter_model.safetensors")
            stock_config(bundle).save_pretrained(folder)
            save_inputs(bundle, folder)
            if options.offline:
                _save_backbone(bundle, stock, folder / BACKBONE)
        facts = {"auto_class": stock.auto, "peft": peft.__version__}
        return Written(use=_use(bundle, stock, options), facts=facts)

    def opened(self, source: Source, folder: Path) -> Answer:
        """Return what PEFT makes of the folder, reduced as the card says."""
        stock = stock_of(source.bundle)
        pooling = source.bundle.config.spec.pooling
        own = folder / BACKBONE
        with quietly():
            base = getattr(transformers, stock.auto).from_pretrained(
                own if own.is_dir() else _source(source.bundle),
                config=transformers.AutoConfig.from_pretrained(folder),
                dtype=torch.float32,
            )
            model = peft.PeftModel.from_pretrained(base, folder).eval()
        offset = position_offset(source.bundle)

        def answer(inputs: Mapping[str, Tensor]) -> Tensor:
            given = dict(inputs)
            if offset is not None:
                ids = inputs["input_ids"]
                given["position_ids"] = torch.arange(ids.shape[1]).expand(ids.shape) + offset
            with torch.inference_mode():
                return reduced(model(**given).logits, inputs.get("attention_mask"), pooling)

        return answer

    def tolerance(self, options: Options) -> float:
        """Return the rounding of float32."""
        return 1e-5


_ROOT = "base_model.model"
"""What PEFT puts before the names of a model whose layers it wraps."""


def _source(bundle: LoadedBundle) -> str:
    """Return the folder or the hub's id that the backbone was loaded from."""
    return str(bundle.backbone.model.name_or_path)


def _save_backbone(bundle: LoadedBundle, stock: Stock, folder: Path) -> None:
    """Write the frozen weights to the depth; of a language model its own head, too."""
    of_language = bundle.config.what.head == "lm"
    model = stock_model(bundle, stock, fold=False) if of_language else bare_model(bundle)
    model.save_pretrained(folder)


def _use(bundle: LoadedBundle, stock: Stock, options: Options) -> str:
    offset = position_offset(bundle)
    place, imports, loading = _loading(bundle, stock, options)
    given = ""
    if offset is not None:
        given = (
            ',\n                   position_ids=torch.arange(inputs["input_ids"].shape[1])'
            f'[None].expand(inputs["input_ids"].shape) + {offset}'
        )
    parts = [
        f"An adapter for PEFT ({peft.__version__} wrote it) on {place}, of which"
        f" {bundle.config.spec.depth} blocks run\n(config.json says so). Nothing of Paradapt is"
        " needed.",
        code(bundle, loading, classes=("AutoConfig", stock.auto), imports=imports, given=given),
    ]
    if bundle.config.what.head != "lm":
        parts.append(
            "transformers tells that the head is new while it loads the backbone; the adapter then"
            "\nbrings the trained one."
        )
    if offset is not None:
        parts.append(
            "The positions are given because PEFT counts a prefix among them, and in training the"
            "\ntokens kept the positions that they have without it."
        )
    return "\n\n".join([*parts, *_by_itself(bundle, stock, options)])


def _loading(
    bundle: LoadedBundle, stock: Stock, options: Options
) -> tuple[str, list[str], list[str]]:
    """Return what the adapter stands on, in words, and the imports and lines that load both."""
    name, imports = bundle.backbone.name, ["from peft import PeftModel"]
    if options.offline:
        place, backbone = f"the frozen weights in `{BACKBONE}/`", f'f"{{folder}}/{BACKBONE}"'
    elif name in BUNDLED:
        bundled = BUNDLED[name]
        place = f"the backbone in the package {bundled.distribution}"
        backbone = f'str(files("{bundled.package}") / "{bundled.folder}")'
        imports.insert(0, "from importlib.resources import files")
    else:
        place, backbone = f"the backbone `{name}`", repr(_source(bundle))
    return (
        place,
        imports,
        [
            f"backbone = {backbone}",
            "config = AutoConfig.from_pretrained(folder)",
            f"base = {stock.auto}.from_pretrained(backbone, config=config, dtype=torch.float32)",
            "model = PeftModel.from_pretrained(base, folder).eval()",
        ],
    )


def _by_itself(bundle: LoadedBundle, stock: Stock, options: Options) -> list[str]:
    """Return how PEFT finds the backbone by itself, where it can."""
    config = stock_config(bundle)
    cut = bundle.config.spec.depth < bundle.backbone.shape.n_layers
    if task_type(bundle) is None or (cut and not options.offline and "layer_types" in config):
        return []  # a list for each block cannot be cut in one call
    numbers = ""
    if not options.offline:
        numbers = f", num_hidden_layers={bundle.config.spec.depth}" if cut else ""
        if bundle.config.what.head != "lm":
            numbers += f", num_labels={config.num_labels}"
        numbers += ', dtype="float32"'
    auto = stock.auto.replace("AutoModel", "AutoPeftModel")
    where = "With this folder as the working directory"
    if not options.offline:
        where = f"Where the backbone lies at `{_source(bundle)}`"
    labels = "" if options.offline or bundle.config.what.head == "lm" else ", without the labels"
    return [
        f"{where},\nPEFT finds it by itself{labels}:",
        f"```python\nfrom peft import {auto}\n"
        f'model = {auto}.from_pretrained("."{numbers}).eval()\n```',
    ]
