"""The questions of a run, and what their digest covers."""

from dataclasses import replace

import pytest

from knowledge.providers.base.answer_store import AnswerStore, StoredAnswer
from knowledge.providers.base.provider import Turn
from knowledge.providers.recorded import Recorded
from knowledge.questions.questions import question_digest, questions
from knowledge.questions.template import Template, Wording

TEMPLATE = Template("toy", Wording(title="t", aspects={"place": "Where is {organ}?", "form": "?"}))
CLASSES = ("background", "knob", "hub")
STORE = AnswerStore(
    template="toy", template_digest=TEMPLATE.digest, model="toy",
    answers=(StoredAnswer(organ="knob", aspect="place", answer="On the lid."),),
)  # fmt: skip


def test_there_is_a_question_per_class_aspect_and_sample_in_this_order():
    asked = questions(TEMPLATE, CLASSES, samples=2)
    assert len(asked) == 3 * 2 * 2
    keys = [(question.organ, question.aspect, question.sample) for question in asked]
    assert keys[:5] == [
        ("background", "place", 0),
        ("background", "place", 1),
        ("background", "form", 0),
        ("background", "form", 1),
        ("knob", "place", 0),
    ]


def test_pictures_are_explained_and_belong_to_their_organ(tmp_path):
    (tmp_path / "knob.png").write_bytes(b"PNG")
    asked = questions(TEMPLATE, CLASSES, images={"knob": (tmp_path / "knob.png",)})
    knob = next(question for question in asked if question.organ == "knob")
    assert knob.images == (tmp_path / "knob.png",)
    assert "the knob in solid red" in knob.task
    assert "The pictures show" not in questions(TEMPLATE, CLASSES)[2].task


@pytest.mark.parametrize(
    "change",
    [
        {"task": "another"},
        {"system": "another"},
        {"format_hint": "another"},
        {"sample": 1},
        {"template_digest": "another"},
        {"turns": (Turn("answer", "complaint"),)},
    ],
)
def test_everything_that_an_answer_depends_on_changes_the_digest(change):
    provider, question = Recorded(STORE), questions(TEMPLATE, CLASSES)[2]
    same = replace(question)
    assert question_digest(same, provider) == question_digest(question, provider)
    assert question_digest(replace(question, **change), provider) != question_digest(
        question, provider
    )


def test_the_digest_covers_the_content_of_pictures_and_not_their_path(tmp_path):
    for name, content in (("a.png", b"1"), ("b.png", b"1"), ("c.png", b"2")):
        (tmp_path / name).write_bytes(content)
    question = questions(TEMPLATE, CLASSES)[2]
    digests = [
        question_digest(replace(question, images=(tmp_path / name,)), Recorded(STORE))
        for name in ("a.png", "b.png", "c.png")
    ]
    assert digests[0] == digests[1] != digests[2]
