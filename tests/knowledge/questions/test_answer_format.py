"""Schema and instructions of answers for short and long lists of organs."""

import json

import pytest

from knowledge.descriptions import BACKGROUND
from knowledge.providers.base.find_json import InvalidAnswer
from knowledge.questions.answer_format import (
    MOST_LISTED,
    NEAREST,
    answer_schema,
    format_hint,
    named_organs,
    read_answer,
)


def organs(count):
    return (BACKGROUND, *(f"organ {number:04}" for number in range(count)))


def size(classes):
    """Characters of instructions and schemas of one question per class."""
    return sum(
        len(format_hint(organ, classes)) + len(json.dumps(answer_schema(organ, classes)))
        for organ in classes
    )


def test_a_short_list_is_named_in_full_and_enforced_by_the_schema():
    classes = organs(MOST_LISTED + 1)
    assert named_organs(classes[1], classes) == list(classes[2:])
    claim = answer_schema(classes[1], classes)["properties"]["claims"]["items"]
    assert claim["properties"]["other"]["enum"] == list(classes[2:])
    assert f"of this list ({', '.join(classes[2:])})" in format_hint(classes[1], classes)


@pytest.mark.parametrize("place", [1, 2, 500, 999, 1000])
def test_of_a_long_list_a_question_names_the_organs_around_the_one_asked_about(place):
    classes = organs(1000)
    named = named_organs(classes[place], classes)
    assert len(named) == NEAREST
    assert classes[place] not in named
    distances = [abs(classes.index(name) - place) for name in named]
    rest = [abs(i - place) for i in range(1, 1001) if classes[i] not in named and i != place]
    assert max(distances) <= NEAREST // 2 or min(place, 1000 - place) < NEAREST // 2
    assert min(rest) > NEAREST // 2 - 1
    assert "one of 999 other organs" in format_hint(classes[place], classes)
    claim = answer_schema(classes[place], classes)["properties"]["claims"]["items"]
    assert claim["properties"]["other"] == {"type": "string"}


def test_the_size_of_all_questions_grows_as_the_list():
    assert size(organs(1000)) < 1000 * 4000
    assert size(organs(2000)) / size(organs(1000)) == pytest.approx(2, rel=0.01)


def test_claims_about_other_names_are_left_out_for_a_long_list_and_refused_for_a_short_one():
    def answer(classes):
        content = {
            "organ": classes[1],
            "text": "It lies where it lies.",
            "claims": [
                {"relation": "left_of", "other": "spleen"},
                {"relation": "left_of", "other": classes[-1]},
            ],
            "attributes": [],
        }
        return read_answer(json.dumps(content), "text", classes[1], classes)

    long = organs(1000)
    assert [claim.other for claim in answer(long).about()] == [long[-1]]
    with pytest.raises(InvalidAnswer, match="'spleen' is not one of the other organs"):
        answer(organs(20))
