"""What an exported graph needs beside it, and the program of its card: no torch, nothing of ours.

The graph holds the head. What is left is to make its inputs and to name its answers: `task.json`
has the labels and lengths for it, and `tokenizer.json` the tokens.
"""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from trainers.bundle import LoadedBundle
from trainers.data.tokens import spelling_of_words
from trainers.export.format import Source
from trainers.export.graph import ANSWER, input_names
from trainers.requirements import REQUIREMENTS
from trainers.tasks import Task

TASK, TOKENIZER = "task.json", "tokenizer.json"
_INPUTS = {
    "input_ids": "ids",
    "attention_mask": "attention_mask",
    "token_type_ids": "type_ids",
}
"""For each input of a graph what the library `tokenizers` calls it."""


def refusal_of_inputs(bundle: LoadedBundle) -> str | None:
    """Return why what makes inputs cannot be written; None: it can."""
    tokenizer = bundle.backbone.tokenizer
    if tokenizer is None or tokenizer.is_fast:
        return None
    return (
        f"the tokenizer of this backbone ({type(tokenizer).__name__}) has no {TOKENIZER}, which"
        " the graph's users read. Use `--format bundle`."
    )


def write_beside(source: Source, folder: Path, libraries: Sequence[str]) -> None:
    """Write task.json, tokenizer.json where it reads text, and requirements.txt.

    Args:
        source: the structure.
        folder: of the export.
        libraries: distributions that run the graph.
    """
    bundle = source.bundle
    task = json.dumps(_task(source), indent=2, ensure_ascii=False)
    (folder / TASK).write_text(f"{task}\n", encoding="utf-8")
    if bundle.backbone.tokenizer is not None:
        bundle.backbone.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
    reads = "tokenizers" if bundle.backbone.image is None else "pillow"
    names = ("numpy", reads, *libraries)
    lines = [f"{name}=={version(name).partition('+')[0]}" for name in names]
    (folder / REQUIREMENTS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _task(source: Source) -> dict[str, object]:
    bundle = source.bundle
    config, image, tokenizer = bundle.config, bundle.backbone.image, bundle.backbone.tokenizer
    said: dict[str, object] = {
        "task": config.task,
        "inputs": input_names(source),
        "output": ANSWER,
        "labels": list(config.labels),
        "several_labels": config.what.multi_label,
    }
    if config.scale is not None:
        said["scale"] = {"mean": config.scale.mean, "std": config.scale.std}
    if image is not None:
        said |= {"size": list(image.size), "mean": list(image.mean), "std": list(image.std)}
    if tokenizer is not None:
        # Padding is masked, so that any token will do.
        pad_id = bundle.backbone.pad_id
        pad = {"pad_id": pad_id, "pad_token": tokenizer.convert_ids_to_tokens(pad_id)}
        said |= {"max_length": config.max_length, "padding": pad}
    return said


def program(
    source: Source, imports: str, loading: Sequence[str], running: str, first: Sequence[str] = ()
) -> str:
    """Return a whole Python program, as Markdown, that prints what two rows are answered.

    Args:
        source: the structure.
        imports: name of the library that runs the graph.
        loading: lines that load it.
        running: line that makes `logits` of `inputs`.
        first: lines before all imports.
    """
    bundle = source.bundle
    reads_text = bundle.backbone.image is None
    own = f"import numpy\nimport {imports}"
    own += "\nfrom tokenizers import Tokenizer" if reads_text else "\nfrom PIL import Image"
    lines = [
        *first,
        "import json",
        "",
        own,
        "",
        f'with open("{TASK}", encoding="utf-8") as file:',
        "    task = json.load(file)",
        *loading,
        *(_text_lines(source) if reads_text else _image_lines(bundle)),
        running,
        *_answer_lines(bundle.config.what),
    ]
    return "```python\n" + "\n".join(lines) + "\n```"


def _text_lines(source: Source) -> list[str]:
    task, tokenizer = source.bundle.config.what, source.bundle.backbone.tokenizer
    assert tokenizer is not None
    lines = [
        f'tokenizer = Tokenizer.from_file("{TOKENIZER}")',
        'tokenizer.enable_truncation(task["max_length"])',
        'tokenizer.enable_padding(**task["padding"])',
        'rows = ["a first row", "a second row, which is longer"]',
    ]
    spelled, how = "rows", ""
    if "text_pair" in task.inputs:
        lines[-1] = 'rows = [("a first text", "its second one"), ("another", "and its second")]'
    if "words" in task.inputs:
        lines[-1] = 'rows = [["a", "first", "row"], ["a", "second", "row", "of", "words"]]'
        how = ", is_pretokenized=True"
        if spelling_of_words(tokenizer)(["a", "a"]) == ["a", " a"]:
            spelled = '[[*row[:1], *(f" {word}" for word in row[1:])] for row in rows]'
    inputs = [
        f'    "{name}": numpy.array([row.{_INPUTS[name]} for row in read], numpy.int64),'
        for name in input_names(source)
    ]
    return [*lines, f"read = tokenizer.encode_batch({spelled}{how})", "inputs = {", *inputs, "}"]


def _image_lines(bundle: LoadedBundle) -> list[str]:
    image = bundle.backbone.image
    assert image is not None
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[image.n_channels]
    return [
        'height, width = task["size"]',
        'picture = Image.new("RGB", (width, height), "teal")  # yours: Image.open("one.png")',
        f'picture = picture.convert("{mode}")',
        "picture = picture.resize((width, height), Image.Resampling.BILINEAR)",
        "pixels = numpy.asarray(picture, numpy.float32).reshape(height, width, -1) / 255",
        'pixels = (pixels - numpy.float32(task["mean"])) / numpy.float32(task["std"])',
        'inputs = {"pixel_values": pixels.transpose(2, 0, 1)[None]}',
    ]


def _answer_lines(task: Task) -> list[str]:
    if task.labels == "none":
        return [
            'last = inputs["attention_mask"].sum(1) - 1  # the last real token of each row',
            "best = logits[numpy.arange(len(logits)), last].argmax(-1)",
            "print([tokenizer.decode([token]) for token in best.tolist()])  # what would come next",
        ]
    if task.labels == "number":
        return [
            'numbers = logits[:, 0] * task["scale"]["std"] + task["scale"]["mean"]',
            "print(numbers.tolist())  # in the units of the data",
        ]
    if task.labels == "classes":
        lines = [
            "shares = 1 / (1 + numpy.exp(-logits))  # a label holds where it is above one half"
        ]
    else:
        lines = [
            "shares = numpy.exp(logits - logits.max(-1, keepdims=True))",
            "shares = shares / shares.sum(-1, keepdims=True)",
        ]
    if task.labels == "tags":
        return [
            *lines,
            "for number, row in enumerate(rows):",
            "    places = read[number].word_ids  # a word's tag stands at its first piece",
            "    for place, word in enumerate(row):",
            "        if place in places:",
            "            own = shares[number, places.index(place)]",
            '            label = task["labels"][int(own.argmax())]',
            "            print(word, label, round(float(own.max()), 4))",
        ]
    return [
        *lines,
        "for row in shares.tolist():",
        '    print({label: round(share, 4) for label, share in zip(task["labels"], row)})',
    ]
