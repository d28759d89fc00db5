"""The format `merged`: a plain transformers model, adapters folded into its weights."""

from collections.abc import Mapping
from pathlib import Path

import torch
import transformers
from torch import Tensor

from trainers.export.format import Answer, Options, Source, Written
from trainers.export.parts import WAY_OUT, first_where, not_blocks
from trainers.export.reading import code, reduced, save_inputs
from trainers.export.stock import NoStockError, quietly, stock_model, stock_of


class Merged:
    """config.json, model.safetensors and the tokenizer, as transformers itself writes them."""

    name = "merged"
    options: frozenset[str] = frozenset({"offline"})

    def refusal(self, source: Source, options: Options) -> str | None:
        """Return the part that no plain weight can hold, or None."""
        spec = source.bundle.config.spec
        part = not_blocks(spec)
        if part is not None:
            return f"{part}. {WAY_OUT}"
        stays = first_where(spec, lambda adapter: not adapter.mergeable)
        if stays is not None:
            return f"{stays} cannot be folded into a weight. {WAY_OUT}"
        try:
            stock_of(source.bundle)
        except NoStockError as error:
            return f"{error}. {WAY_OUT}"
        return None

    def write(self, source: Source, folder: Path, options: Options) -> Written:
        """Write the model, which is whole with or without `offline`, and its tokenizer."""
        bundle = source.bundle
        stock = stock_of(bundle)
        with quietly():
            stock_model(bundle, stock, fold=True).save_pretrained(folder)
            save_inputs(bundle, folder)
        loading = [f"model = {stock.auto}.from_pretrained(folder).eval()"]
        use = (
            f"A plain model of transformers ({transformers.__version__} wrote it), its backbone cut"
            f" to {bundle.config.spec.depth} blocks\nand the adapters folded in. Nothing of"
            f" Paradapt is needed.\n\n{code(bundle, loading, classes=(stock.auto,))}"
        )
        return Written(use=use, facts={"auto_class": stock.auto})

    def opened(self, source: Source, folder: Path) -> Answer:
        """Return what the Auto class makes of the folder, reduced as the card says."""
        stock = stock_of(source.bundle)
        pooling = source.bundle.config.spec.pooling
        with quietly():
            model = getattr(transformers, stock.auto).from_pretrained(folder).eval()

        def answer(inputs: Mapping[str, Tensor]) -> Tensor:
            with torch.inference_mode():
                return reduced(model(**inputs).logits, inputs.get("attention_mask"), pooling)

        return answer

    def tolerance(self, options: Options) -> float:
        """Return the rounding of float32."""
        return 1e-5
