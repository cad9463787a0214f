"""Messages of the chat protocol: text, pictures, earlier answers with their fault."""

import base64

from knowledge.providers.base.messages import messages_of, without_system
from knowledge.providers.base.provider import Question, Turn


def question(**changes):
    content = {
        "organ": "knob", "aspect": "place", "sample": 0, "system": "Be brief.",
        "task": "Where is the knob?", "format_hint": "Answer in JSON.", "schema": {},
        "template": "toy", "template_digest": "0",
    }  # fmt: skip
    return Question(**{**content, **changes})


def test_the_format_is_part_of_the_question_unless_prose_is_asked_for():
    system, user = messages_of(question(), "text")
    assert system == {"role": "system", "content": "Be brief."}
    assert user["content"] == "Where is the knob?\n\nAnswer in JSON."
    assert messages_of(question(), "plain")[1]["content"] == "Where is the knob?"


def test_without_a_system_message_its_text_leads_the_question():
    (user,) = messages_of(without_system(question()), "plain")
    assert user == {"role": "user", "content": "Be brief.\n\nWhere is the knob?"}
    assert without_system(question(system="")).task == "Where is the knob?"


def test_pictures_follow_the_text_as_data(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    text, picture = messages_of(question(images=(tmp_path / "a.png",)), "plain")[1]["content"]
    assert text == {"type": "text", "text": "Where is the knob?"}
    head, _, data = picture["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == b"\x89PNG"


def test_an_earlier_answer_is_followed_by_its_fault():
    *_, answer, complaint = messages_of(question(turns=(Turn("", "it is empty"),)), "text")
    assert answer == {"role": "assistant", "content": "(empty)"}
    assert "cannot be used: it is empty" in complaint["content"]
