"""Entities of BIO tags, by hand and against a second way of counting them."""

import random

import pytest

from trainers.entities import EntityCounts, entities


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("", set()),
        ("O O O", set()),
        ("B-PER", {("PER", 0, 1)}),
        ("B-PER I-PER O B-LOC", {("PER", 0, 2), ("LOC", 3, 4)}),
        ("B-PER B-PER I-PER", {("PER", 0, 1), ("PER", 1, 3)}),
        ("O I-PER I-PER", {("PER", 1, 3)}),
        ("B-PER I-LOC I-LOC O", {("PER", 0, 1), ("LOC", 1, 3)}),
        ("B-PER O I-PER", {("PER", 0, 1), ("PER", 2, 3)}),
        ("B-A-B I-A-B I-A", {("A-B", 0, 2), ("A", 2, 3)}),
        ("B I I O I B", {("", 0, 3), ("", 4, 5), ("", 5, 6)}),
        ("B-O I-O", {("O", 0, 2)}),
        ("NOUN NOUN O VERB", {("NOUN", 0, 1), ("NOUN", 1, 2), ("VERB", 3, 4)}),
    ],
)
def test_spans_of_a_sentence(tags, expected):
    assert entities(tags.split()) == expected


def counts_of(found, wanted):
    counts = EntityCounts()
    counts.update([tags.split() for tags in found], [tags.split() for tags in wanted])
    return counts.compute()


def test_type_and_both_ends_must_agree():
    wanted = ["B-PER I-PER O B-LOC", "B-ORG O"]
    found = ["B-PER O O B-LOC", "B-LOC O"]  # an end is wrong; right; the type is wrong
    assert counts_of(found, wanted) == pytest.approx(
        {"entity_f1": 1 / 3, "entity_precision": 1 / 3, "entity_recall": 1 / 3}
    )


def test_precision_and_recall_are_over_all_sentences():
    found = counts_of(["B-A B-A B-A", "O"], ["B-A O O", "B-A"])
    assert found == pytest.approx(
        {"entity_f1": 2 / 5, "entity_precision": 1 / 3, "entity_recall": 1 / 2}
    )


def test_without_entities_all_is_zero():
    assert set(counts_of(["O O"], ["O O"]).values()) == {0.0}


def chunks_by_boundaries(tags):
    """Count another way: ends and starts between neighbours, as conlleval does."""
    found, start = set(), None
    before = ("O", "")
    for place, tag in enumerate([*tags, "O"]):
        now = ("O", "") if tag == "O" else (tag[0], tag[2:])
        ends = before[0] != "O" and (now[0] in "BO" or now[1] != before[1])
        starts = now[0] != "O" and (now[0] == "B" or before[0] == "O" or now[1] != before[1])
        if ends:
            found.add((before[1], start, place))
        if starts:
            start = place
        before = now
    return found


def test_random_tags_agree_with_the_count_by_boundaries():
    generator = random.Random(0)
    alphabet = ["O", "B-X", "I-X", "B-Y", "I-Y"]
    for _ in range(2000):
        tags = generator.choices(alphabet, k=generator.randint(0, 9))
        assert entities(tags) == chunks_by_boundaries(tags), tags
