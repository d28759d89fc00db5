"""Prediction for every task: each row alone, unmerged and without padding, answers alike."""

import json
import math
from dataclasses import replace

import numpy
import pandas
import pytest
import torch
from PIL import Image
from scipy.special import expit, log_softmax, softmax

from space.errors import UserError
from space.spec import AdapterSpec
from tests.trainers.learnable import LESSONS, backbone_of, rows_of
from tests.trainers.test_bundle import config_for
from tests.trainers.tiny import FILLERS, adapter, fill_randomly
from trainers import answers as answers_module
from trainers import predict as predict_module
from trainers.bundle import LoadedBundle, n_outputs
from trainers.data import Batch
from trainers.model import build
from trainers.predict import predict, predict_file
from trainers.tasks import IGNORED

MAX_LENGTH = 16


@pytest.fixture(scope="module")
def bundles(tiny_folders):
    return {name: bundle_of(name, tiny_folders) for name in LESSONS}


def bundle_of(name, folders, exits=()):
    lesson = LESSONS[name]
    backbone = backbone_of(lesson, folders)
    sequence = lesson.task.head == "sequence"
    spec = AdapterSpec(
        depth=3,
        adapters=(adapter(0, "query", "lora"), adapter(1, "ffn", "parallel")),
        pooling="mean" if sequence else "none",
        exits=exits,
    )
    width = n_outputs(lesson.task, lesson.labels, backbone)
    model = build(backbone, spec, width, seed=0, head=lesson.task.head)
    config = config_for(
        backbone,
        spec,
        task=lesson.task.name,
        labels=lesson.labels,
        columns=lesson.columns,
        scale=lesson.scale,
        max_length=MAX_LENGTH,
    )
    return LoadedBundle(config=config, backbone=backbone, model=fill_randomly(model, spread=0.4))


def logits_of(bundle, **encoded):
    with torch.no_grad():
        inputs = {name: torch.tensor(value).unsqueeze(0) for name, value in encoded.items()}
        return bundle.model(**inputs)[0].double().numpy()


def logits_of_text(bundle, *texts):
    encoded = bundle.backbone.tokenizer(*texts, truncation=True, max_length=MAX_LENGTH)
    return logits_of(bundle, **encoded)


def write_csv(folder, **columns):
    path = folder / "in.csv"
    pandas.DataFrame(columns).to_csv(path, index=False)
    return path


def answered(bundle, source, text=None):
    """Return the file that is written, and what was noticed."""
    target = source.parent / f"{source.name}.out.csv"
    noticed = []
    predict_file(bundle, source, target, text=text, noticed=noticed.append)
    return pandas.read_csv(target, keep_default_na=False, dtype={"id": str}), noticed


def test_two_texts_are_read_in_their_order(tmp_path, bundles):
    bundle = bundles["pair"]
    inputs = rows_of("pair", 9, 3).inputs
    source = write_csv(tmp_path, id=range(9), second=inputs["text_pair"], first=inputs["text"])
    found, noticed = answered(bundle, source)
    assert list(found.columns) == [
        "id", "second", "first", "prediction", "probability_fruit", "probability_tool",
    ]  # fmt: skip
    pairs = zip(inputs["text"], inputs["text_pair"], strict=True)
    expected = softmax([logits_of_text(bundle, *pair) for pair in pairs], axis=1)
    numpy.testing.assert_allclose(found.iloc[:, 4:], expected, atol=1e-5)
    assert list(found["prediction"]) == [bundle.config.labels[i] for i in expected.argmax(1)]
    assert noticed == []
    turned = predict(bundle, text=inputs["text_pair"], text_pair=inputs["text"])
    assert abs(turned["probability_fruit"] - found["probability_fruit"]).max() > 1e-3


def test_a_missing_second_column_is_told(tmp_path, bundles):
    source = write_csv(tmp_path, first=["a"], secnd=["b"])
    with pytest.raises(UserError, match=r"no column 'second'.*Did you mean `secnd`\?$"):
        answered(bundles["pair"], source)


def test_several_labels_are_joined_by_the_separator(tmp_path, tiny_folders):
    bundle = bundle_of("classes", tiny_folders)
    texts = rows_of("classes", 40, 3).inputs["text"]
    middle = numpy.median([logits_of_text(bundle, text) for text in texts], axis=0)
    with torch.no_grad():  # so that each label is held by some
        bundle.model.head.linear.bias -= torch.from_numpy(middle).float()
    found, _ = answered(bundle, write_csv(tmp_path, text=texts))
    expected = expit([logits_of_text(bundle, text) for text in texts])
    own = found[["probability_fruit", "probability_tool"]].to_numpy()
    numpy.testing.assert_allclose(own, expected, atol=1e-5)
    names = [
        "|".join(n for n, p in zip(("fruit", "tool"), row, strict=True) if p > 0.5)
        for row in expected
    ]
    assert list(found["prediction"]) == names
    assert {"fruit|tool", ""} <= set(names)


def test_numbers_are_told_in_the_units_of_the_data(tmp_path, bundles):
    bundle = bundles["number"]
    texts = rows_of("number", 12, 3).inputs["text"]
    found, _ = answered(bundle, write_csv(tmp_path, id=range(12), text=texts))
    assert list(found.columns) == ["id", "text", "prediction"]
    expected = [float(logits_of_text(bundle, text)[0]) * 20 + 100 for text in texts]
    numpy.testing.assert_allclose(found["prediction"], expected, rtol=1e-5)
    small = replace(bundle.config, scale=replace(bundle.config.scale, mean=3e-9, std=1e-9))
    tiny = predict(replace(bundle, config=small), text=texts)["prediction"]
    numpy.testing.assert_allclose(
        tiny, (numpy.array(expected) - 100) / 20 * 1e-9 + 3e-9, atol=1e-14
    )


LINES = (("the", "apple", "is", "old"), ("hammer",), ("new", "melon", "saw", "file", "big"))


def tags_of_line(bundle, words):
    """Return the tag of each word, one token a word, between the two special tokens."""
    ids = bundle.backbone.tokenizer.convert_tokens_to_ids(["[CLS]", *words, "[SEP]"])
    best = logits_of(bundle, input_ids=ids).argmax(-1)[1:-1]
    return [bundle.config.labels[tag] for tag in best]


@pytest.mark.parametrize("name", ["in.conll", "in.jsonl", "in.csv"])
def test_every_word_has_a_tag(tmp_path, bundles, name):
    bundle = bundles["tags"]
    source = tmp_path / name
    if name == "in.conll":
        source.write_text("\n\n".join("\n".join(f"{w}\tX\tO" for w in ws) for ws in LINES) + "\n")
    elif name == "in.jsonl":
        rows = [json.dumps({"id": str(i), "text": words}) for i, words in enumerate(LINES)]
        source.write_text("\n".join(rows))
    else:
        write_csv(tmp_path, id=range(3), text=[json.dumps(words) for words in LINES])
    found, noticed = answered(bundle, source)
    kept = ["words"] if name == "in.conll" else ["id", "text"]
    assert list(found.columns) == [*kept, "prediction"]
    assert [tuple(json.loads(words)) for words in found[kept[-1]]] == list(LINES)
    tags = [json.loads(row) for row in found["prediction"]]
    assert tags == [tags_of_line(bundle, words) for words in LINES]
    assert len({tag for row in tags for tag in row}) > 1
    assert noticed == []


def test_words_that_were_not_read_are_outside_and_told(tmp_path, bundles):
    bundle = bundles["tags"]
    long = tuple(FILLERS[place % len(FILLERS)] for place in range(20))
    odd = ("apple", "\u200b", "hammer")  # the tokenizer makes nothing of the second word
    found, noticed = answered(
        bundle, write_csv(tmp_path, text=[json.dumps(w) for w in (long, odd)])
    )
    first, second = (json.loads(row) for row in found["prediction"])
    n_read = MAX_LENGTH - 2
    assert first == [*tags_of_line(bundle, long[:n_read]), *["O"] * (20 - n_read)]
    apple, hammer = tags_of_line(bundle, ("apple", "hammer"))
    assert second == [apple, "O", hammer]
    assert len(noticed) == 1
    assert f"{20 - n_read + 1} words were not read" in noticed[0]
    in_memory = predict(bundle, words=[long, odd])["prediction"]
    assert in_memory[0][n_read:] == [None] * (20 - n_read)
    assert in_memory[1] == [apple, None, hammer]


def test_words_that_are_no_list_are_told_with_their_row(tmp_path, bundles):
    source = write_csv(tmp_path, text=['["a"]', '["b", 3]'])
    with pytest.raises(UserError, match=r"row 2: the words is a list of texts"):
        answered(bundles["tags"], source)


@pytest.mark.parametrize("n_chunk", [1, 2, 7])
def test_chunks_of_sentences_change_nothing(tmp_path, bundles, monkeypatch, n_chunk):
    monkeypatch.setattr(predict_module, "CHUNK_ROWS", n_chunk)
    source = tmp_path / "in.txt"
    source.write_text("\n\n".join("\n".join(words) for words in LINES))
    found, _ = answered(bundles["tags"], source)
    assert [json.loads(row) for row in found["prediction"]] == [
        tags_of_line(bundles["tags"], words) for words in LINES
    ]


def image_logits(bundle, pixels):
    image = bundle.backbone.image
    scaled = (pixels / 255 - numpy.array(image.mean)[:, None, None]) / numpy.array(image.std)[
        :, None, None
    ]
    return logits_of(bundle, pixel_values=scaled.astype(numpy.float32))


@pytest.mark.parametrize("form", ["folder", "npz", "csv"])
@pytest.mark.parametrize("n_chunk", [3, 256])
def test_images_of_every_form(tmp_path, bundles, monkeypatch, form, n_chunk):
    monkeypatch.setattr(predict_module, "CHUNK_IMAGES", n_chunk)
    bundle = bundles["image"]
    pixels = rows_of("image", 7, 3).inputs["image"]
    folder = tmp_path / "pictures"
    folder.mkdir()
    names = [f"{place}.png" for place in range(7)]
    for name, image in zip(names, pixels, strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / name)
    match form:
        case "folder":
            source = folder
        case "npz":
            source, names = tmp_path / "in.npz", [str(place + 1) for place in range(7)]
            numpy.savez(source, images=pixels.transpose(0, 2, 3, 1))
        case "csv":
            source, names = write_csv(folder, id=range(7), image=names), names
    found, _ = answered(bundle, source)
    kept = ["id", "image"] if form == "csv" else ["image"]
    assert list(found.columns) == [*kept, "prediction", "probability_dark", "probability_light"]
    assert list(map(str, found["image"])) == names
    expected = softmax([image_logits(bundle, image) for image in pixels], axis=1)
    numpy.testing.assert_allclose(found.iloc[:, -2:], expected, atol=1e-5)


def test_an_image_that_is_not_there_is_told(tmp_path, bundles):
    with pytest.raises(UserError, match=r"the image `gone.png` cannot be read"):
        answered(bundles["image"], write_csv(tmp_path, image=["gone.png"]))


def test_likelihoods_are_sums_over_next_tokens(tmp_path, bundles, monkeypatch):
    bundle = bundles["next"]
    texts = list(rows_of("next", 10, 3).inputs["text"])
    source = write_csv(tmp_path, text=texts)
    found, _ = answered(bundle, source)
    assert list(found.columns) == ["text", "n_tokens", "log_likelihood", "perplexity"]
    for text, n_tokens, total, perplexity in found.itertuples(index=False):
        ids = bundle.backbone.tokenizer(text, truncation=True, max_length=MAX_LENGTH)["input_ids"]
        log_p = log_softmax(logits_of(bundle, input_ids=ids), axis=-1)
        expected = sum(log_p[place, token] for place, token in enumerate(ids[1:]))
        assert n_tokens == len(ids)
        assert total == pytest.approx(expected, rel=1e-5)
        assert perplexity == pytest.approx(math.exp(-expected / (len(ids) - 1)), rel=1e-5)
    # Rows run in smaller batches where their answers would not fit, with the same answers.
    monkeypatch.setattr(answers_module, "MAX_LOGITS", 3 * MAX_LENGTH * bundle.model.n_outputs)
    pandas.testing.assert_frame_equal(
        predict(bundle, text=texts), found.iloc[:, 1:], rtol=1e-5, check_dtype=False
    )


def test_batches_of_a_language_model_hold_so_many_logits(bundles, monkeypatch):
    bundle = bundles["next"]
    seen = []
    hook = bundle.model.view.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    limit = 3 * MAX_LENGTH * bundle.model.n_outputs
    monkeypatch.setattr(answers_module, "MAX_LOGITS", limit)
    monkeypatch.setattr(answers_module, "deploy", lambda model, backbone: model)
    predict(bundle, text=rows_of("next", 30, 3).inputs["text"])
    hook.remove()
    assert len(seen) >= 10 and max(seen) * bundle.model.n_outputs <= limit


def test_a_single_token_has_no_perplexity(bundles):
    labels = torch.tensor([[5, IGNORED], [5, 6]])
    batch = Batch(inputs={}, labels=labels)
    found = answers_module._likelihoods(bundles["next"].config, {}, batch, torch.zeros(2, 2, 8))
    assert found["n_tokens"] == [1, 2]
    assert found["log_likelihood"] == pytest.approx([0, -math.log(8)])
    assert math.isnan(found["perplexity"][0]) and found["perplexity"][1] == pytest.approx(8)


@pytest.mark.parametrize("name", ["class", "classes"])
def test_rows_that_leave_early_tell_their_depth(tmp_path, tiny_folders, name):
    bundle = bundle_of(name, tiny_folders, exits=(1, 2))
    texts = rows_of(name, 30, 3).inputs["text"]
    probabilities, sure = [], []
    for text in texts:
        ids = bundle.backbone.tokenizer(text, truncation=True, max_length=MAX_LENGTH)["input_ids"]
        with torch.no_grad():
            heads = bundle.model.forward_exits(input_ids=torch.tensor([ids]))
        each = [h[0].double().numpy() for h in heads]
        p = [softmax(h) if name == "class" else expit(h) for h in each]
        probabilities.append(p)
        sure.append([q.max() if name == "class" else numpy.maximum(q, 1 - q).min() for q in p])
    threshold = float(numpy.median([row[0] for row in sure]))
    early = replace(bundle, config=replace(bundle.config, exit_threshold=threshold))
    found, _ = answered(early, write_csv(tmp_path, text=texts))
    assert found.columns[-1] == "exit_depth"
    depths = [next((d for d in (0, 1) if row[d] >= threshold), 2) for row in sure]
    assert list(found["exit_depth"]) == [(1, 2, 3)[depth] for depth in depths]
    assert len(set(depths)) > 1
    expected = [p[depth] for p, depth in zip(probabilities, depths, strict=True)]
    own = found[["probability_fruit", "probability_tool"]].to_numpy()
    numpy.testing.assert_allclose(own, expected, atol=1e-5)
    assert "exit_depth" not in predict(bundle, text=texts)
