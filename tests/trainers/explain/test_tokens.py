"""What tokens are called, for every way that tokenizers mark words."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from trainers.explain.tokens import TextTokens, tokens_of


def told(tokenizer, ids):
    tokens = TextTokens(tokenizer, tokenizer.vocab_size)
    return [(t.text, t.kind, t.begins) for t in map(tokens.token, ids)]


def test_wordpiece(minilm):
    tokenizer = minilm.tokenizer
    ids = tokenizer("unbelievably 42 ok.")["input_ids"]
    found = told(tokenizer, ids)
    assert found[0] == ("[CLS]", "special token", True)
    assert found[-1] == ("[SEP]", "special token", True)
    kinds = {text: kind for text, kind, _ in found}
    assert kinds["42"] == "number" and kinds["."] == "punctuation"
    word = "".join(text for text, kind, _ in found if kind in ("inside of a word",))
    begins = [text for text, kind, _ in found if kind == "word or its beginning"]
    assert word and begins[0] + word == "unbelievably" and begins[1] == "ok"


@pytest.mark.parametrize("mark", ["Ġ", "▁"])
def test_marked_beginnings(mark):
    vocabulary = {"<unk>": 0, "</s>": 1, f"{mark}new": 2, "ish": 3, f"{mark}7": 4, "!": 5}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    if mark == "Ġ":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer.decoder = decoders.Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")
    assert told(fast, range(1, 6)) == [
        ("</s>", "special token", True),
        ("new", "word or its beginning", True),
        ("ish", "inside of a word", False),
        ("7", "number", True),
        ("!", "punctuation", False),
    ]


def test_patches_have_places(tiny_backbones):
    tokens = tokens_of(tiny_backbones["vit"])
    assert tokens.n_identities == 10  # 3 x 3 patches, and the token beside them
    found = [tokens.token(i) for i in range(10)]
    assert found[0].kind == "special token"
    assert [found[i].text for i in (1, 3, 4, 9)] == [
        "row 1 column 1",
        "row 1 column 3",
        "row 2 column 1",
        "row 3 column 3",
    ]
