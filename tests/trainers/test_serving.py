"""What a server reads: rows of a data frame by the columns of the study, checked."""

import math

import numpy
import pandas
import pytest

from space.errors import UserError
from tests.trainers.export.sources import backbone_for, source_of
from tests.trainers.tiny import structure
from trainers.answers import deployed
from trainers.predict import predict
from trainers.serving import MAX_ROWS, answers_to, example_rows


@pytest.fixture(scope="module")
def served(tiny_folders):
    """Return a function that gives a structure of a lesson, ready to answer."""

    def run(lesson, pooling="mean"):
        spec = structure(2, (0, 1), {"value": "lora"}, pooling=pooling)
        return deployed(source_of(lesson, backbone_for(lesson, tiny_folders), spec).bundle)

    return run


def test_answers_are_those_of_predict_under_the_index_of_the_rows(served):
    model = served("pair")
    rows = pandas.DataFrame(
        {"other": [1, 2], "second": ["the apple", "a hammer"], "text": ["on a table", "with it"]},
        index=[7, 3],
    )
    found = answers_to(model, rows)
    wanted = predict(model.bundle, text=list(rows["text"]), text_pair=list(rows["second"]))
    assert list(found.index) == [7, 3]
    assert found.to_dict("records") == wanted.to_dict("records")


def test_no_rows_have_no_answers(served):
    found = answers_to(served("class"), pandas.DataFrame({"text": []}))
    assert len(found) == 0
    assert list(found.columns) == ["prediction", "probability_fruit", "probability_tool"]


def test_a_missing_text_is_an_empty_one(served):
    rows = pandas.DataFrame({"text": [None, float("nan"), ""]}, dtype=object)
    answers = answers_to(served("class"), rows).to_dict("records")
    assert answers[0] == answers[1] == answers[2]


def test_words_are_lists_or_arrays(served):
    model = served("tags", pooling="none")
    words = ["the", "apple"]
    rows = pandas.DataFrame({"words": [words, numpy.array(words, dtype=object), tuple(words)]})
    first, *others = answers_to(model, rows)["prediction"]
    assert len(first) == 2 and others == [first, first]


def test_a_perplexity_of_one_token_is_none(served, monkeypatch):
    one = {"n_tokens": [1, 3], "log_likelihood": [0.0, -4.0], "perplexity": [math.nan, 7.5]}
    monkeypatch.setattr("trainers.serving.answers", lambda *_: dict(one))
    rows = pandas.DataFrame({"text": ["apple", "an apple here"]})
    found = answers_to(served("next", pooling="none"), rows)
    assert found["perplexity"].tolist() == [None, 7.5]


@pytest.mark.parametrize(
    ("lesson", "rows", "message"),
    [
        ("class", {"txet": ["a"]}, "no column 'text'; they have txet. Did you mean `txet`?"),
        ("class", {"text": [5]}, "row 1, column 'text': is a text, but got 5."),
        ("class", {"text": ["a"] * (MAX_ROWS + 1)}, "At most 10,000 rows .* but got 10,001"),
        ("tags", {"words": ["the apple"]}, "is a list of texts .* but got 'the apple'"),
        ("tags", {"words": [["the", 5]]}, "is a list of texts"),
        ("image", {"image": ["/etc/passwd"]}, "got a str; paths are not opened"),
        ("image", {"image": [b"no image"]}, "the image `row 1` cannot be read"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(served, lesson, rows, message):
    model = served(lesson, pooling="none" if lesson == "tags" else "mean")
    with pytest.raises(UserError, match=message):
        answers_to(model, pandas.DataFrame(rows))


def test_two_columns_of_one_name_are_refused(served):
    rows = pandas.DataFrame([["a", "b"]], columns=["text", "text"])
    with pytest.raises(UserError, match="several columns 'text'"):
        answers_to(served("class"), rows)


@pytest.mark.parametrize("lesson", ["class", "pair", "classes", "number", "tags", "image", "next"])
def test_the_example_is_answered_for(served, lesson):
    pooling = "none" if lesson in ("tags", "next") else "mean"
    model = served(lesson, pooling=pooling)
    assert len(answers_to(model, example_rows(model.bundle))) == 1
