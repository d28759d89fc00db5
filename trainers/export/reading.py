"""How a stock model is read: what it is given, and what of its logits is the answer.

The code is told in the card, so that nothing of ours is needed; `reduced` is the same in ours.

Shapes: `B` batch, `N` tokens, `C` outputs.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from trainers.bundle import LoadedBundle
from trainers.data.encode import tells_texts_apart
from trainers.data.tokens import spelling_of_words
from trainers.image_input import CONFIG_FILE, ImageInput
from trainers.tasks import Task

REDUCTIONS: Mapping[str, tuple[str, str]] = {
    "mean": (
        "the mean over the real tokens",
        "logits = (logits * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)",
    ),
    "cls": ("the first token", "logits = logits[:, 0]"),
    "last": (
        "the last real token",
        "logits = logits[torch.arange(len(logits)), mask.sum(1) - 1]",
    ),
    "attention": (
        "a mean over the real tokens that the last output weighs",
        "logits = (logits[..., -1:].masked_fill(mask[..., None] == 0, -torch.inf).softmax(1)\n"
        "          * logits[..., :-1]).sum(1)",
    ),
}
"""For each pooling of a row what it is called, and its line of code: `logits` (B, N, C) and `mask`
(B, N) give `logits` (B, C)."""

EXAMPLES = ("a first row", "a second row, which is longer")
"""The texts of a card."""


def reduced(logits: Tensor, mask: Tensor | None, pooling: str) -> Tensor:
    """Return the answer of rows: logits (B, N, C), and with `attention` one more, give (B, C).

    Args:
        logits: of a stock model; of images (B, C) already.
        mask: (B, N), 1 at real tokens.
        pooling: of the structure; `none` leaves the logits as they are.
    """
    if logits.dim() == 2 or pooling == "none":
        return logits
    assert mask is not None
    if pooling == "cls":
        return logits[:, 0]
    if pooling == "last":
        return logits[torch.arange(len(logits)), mask.sum(1) - 1]
    if pooling == "mean":
        return (logits * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    scores = logits[..., -1:].masked_fill(mask[..., None] == 0, -torch.inf)  # (B, N, 1)
    return (scores.softmax(1) * logits[..., :-1]).sum(1)


def save_inputs(bundle: LoadedBundle, folder: Path) -> None:
    """Write what makes inputs, so that it gives by itself what the model is given in training."""
    if bundle.backbone.image is not None:
        processor = _image_processor(bundle.backbone.image)
        (folder / CONFIG_FILE).write_text(json.dumps(processor, indent=2) + "\n", encoding="utf-8")
        return
    assert bundle.backbone.tokenizer is not None
    tokenizer = copy.deepcopy(bundle.backbone.tokenizer)
    names = ["input_ids", "attention_mask"]
    if _has_type_ids(bundle, tokenizer):
        names.insert(1, "token_type_ids")
    tokenizer.model_input_names = names
    tokenizer.init_kwargs["model_input_names"] = names
    for name in ("local_files_only", "is_local"):  # of how it was loaded here
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None and tokenizer.all_special_tokens:
        # Padding is masked, so that any token will do; a special one is no word of a text.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.all_special_tokens[0]
    tokenizer.save_pretrained(folder)


def _image_processor(image: ImageInput) -> dict[str, Any]:
    height, width = image.size
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": int(Image.Resampling.BILINEAR),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(image.mean),
        "image_std": list(image.std),
    }


def _has_type_ids(bundle: LoadedBundle, tokenizer: PreTrainedTokenizerBase) -> bool:
    pairs = "text_pair" in bundle.config.what.inputs
    made = "token_type_ids" in tokenizer.model_input_names
    return pairs and made and tells_texts_apart(bundle.backbone.model)


def code(
    bundle: LoadedBundle,
    loading: Sequence[str],
    *,
    classes: tuple[str, ...],
    imports: Sequence[str] = (),
    given: str = "",
) -> str:
    """Return Python code, as Markdown, from two rows to their answers.

    Args:
        bundle: the structure.
        loading: lines that make `model` of `folder`.
        classes: what of transformers they need.
        imports: further imports that they need.
        given: further arguments of the model's call, with a comma in front.
    """
    reads_text = bundle.backbone.image is None
    names = (*classes, "AutoTokenizer") if reads_text else classes
    also = imports if reads_text else (*imports, "import numpy", "from PIL import Image")
    lines = [
        "import torch",
        *also,
        f"from transformers import {', '.join(names)}",
        "",
        'folder = "."  # this folder',
        *loading,
        *(_text_lines(bundle) if reads_text else _image_lines(bundle)),
        "with torch.no_grad():",
        f"    logits = model(**inputs{given}).logits",
        *_answer_lines(bundle, bundle.config.what),
    ]
    return "```python\n" + "\n".join(lines) + "\n```"


def _text_lines(bundle: LoadedBundle) -> list[str]:
    task, tokenizer = bundle.config.what, bundle.backbone.tokenizer
    assert tokenizer is not None
    pads = bool(tokenizer.pad_token or tokenizer.all_special_tokens)
    n_rows = len(EXAMPLES) if pads else 1  # without a token to fill rows with, they come singly
    lines = ["tokenizer = AutoTokenizer.from_pretrained(folder)"]
    given, cut = "rows", "truncation=True"
    if "words" in task.inputs:
        lines.append(f"rows = {[text.split() for text in EXAMPLES[:n_rows]]}")
        if spelling_of_words(tokenizer)(["a", "a"]) == ["a", " a"]:
            lines.append('rows = [[*row[:1], *(f" {word}" for word in row[1:])] for row in rows]')
        given, cut = "rows, is_split_into_words=True", "truncation=True"
    else:
        lines.append(f"rows = {list(EXAMPLES[:n_rows])}")
    if "text_pair" in task.inputs:
        lines.append("others = rows[::-1]  # the second text of each row")
        given, cut = "rows, others", 'truncation="longest_first"'
    return [
        *lines,
        f"inputs = tokenizer({given}, {cut},",
        f"                   max_length={bundle.config.max_length}, padding={pads},"
        ' return_tensors="pt")',
    ]


def _image_lines(bundle: LoadedBundle) -> list[str]:
    image = bundle.backbone.image
    assert image is not None
    height, width = image.size
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[image.n_channels]
    return [
        f'picture = Image.new("RGB", ({width}, {height}), "teal")  # yours: Image.open("one.png")',
        f'picture = picture.convert("{mode}")',
        f"picture = picture.resize(({width}, {height}), Image.Resampling.BILINEAR)",
        f"pixels = torch.tensor(numpy.array(picture)).view({height}, {width}, -1).permute(2, 0, 1)",
        f"mean, std = torch.tensor({list(image.mean)}), torch.tensor({list(image.std)})",
        "pixels = (pixels / 255 - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)",
        'inputs = {"pixel_values": pixels[None]}',
    ]


def _answer_lines(bundle: LoadedBundle, task: Task) -> list[str]:
    names = "model.config.id2label"
    if task.head == "lm":
        return [
            "last = inputs['attention_mask'].sum(1) - 1  # the last real token of each row",
            "best = logits[torch.arange(len(logits)), last].argmax(-1)",
            "print([tokenizer.decode(token) for token in best])  # what would come next",
        ]
    if task.head == "token":
        return [
            "for number, row in enumerate(rows):",
            "    places = inputs.word_ids(number)  # a word's tag stands at its first piece",
            f"    tags = [{names}[int(logits[number, places.index(word)].argmax())]",
            "            if word in places else 'O' for word in range(len(row))]",
            "    print(list(zip(row, tags)))",
        ]
    lines = []
    if bundle.backbone.image is None:
        what, line = REDUCTIONS[bundle.config.spec.pooling]
        lines = ['mask = inputs["attention_mask"]', f"# {what}:", line]
    return lines + _row_lines(bundle, task, names)


def _row_lines(bundle: LoadedBundle, task: Task, names: str) -> list[str]:
    scale = bundle.config.scale
    if scale is not None:
        return [
            f"print(logits[:, 0] * {scale.std!r} + {scale.mean!r})  # in the units of the data",
        ]
    if task.multi_label:
        return [
            "for row in logits.sigmoid():  # a label holds where its probability is above one half",
            f"    print([{names}[i] for i, share in enumerate(row.tolist()) if share > 0.5])",
        ]
    return [
        "for row in logits.softmax(-1):",
        f"    print({{{names}[i]: round(share, 4) for i, share in enumerate(row.tolist())}})",
    ]
