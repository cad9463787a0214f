"""Replies of the chat protocol, as the client hands them on: whatever JSON a service sent."""

from types import SimpleNamespace

import pytest

from knowledge.providers.base.reply import EmptyReply, check_reply, parts_of, text_of, usage_of


def reply(content, **fields):
    choice = SimpleNamespace(message=SimpleNamespace(content=content))
    return SimpleNamespace(**({"choices": [choice], "model": "m"} | fields))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("words", "words"),
        (None, ""),
        ([{"type": "text", "text": "a"}, {"type": "image", "text": "b"}], "a"),
        ([SimpleNamespace(type="output_text", text="a"), {"type": "text", "text": "b"}], "ab"),
        ([{"type": "text", "text": 5}], ""),
        (["a", {"text": "b"}, {"type": "thinking", "text": "c"}], "ab"),
    ],
)
def test_the_text_of_an_answer_is_that_of_its_parts(content, text):
    check_reply(reply(content))
    assert text_of(reply(content)) == text


@pytest.mark.parametrize(
    ("broken", "said", "again"),
    [
        (reply({"text": "x"}), "the reply's answer is no text", True),
        (reply("\ud800"), "no Unicode text", True),
        (reply("x", model=5), "model is no name", True),
        (SimpleNamespace(choices=[]), "holds no answer", True),
        (SimpleNamespace(error={"message": "busy", "code": 503}), "busy", True),
        (SimpleNamespace(error={"message": "busy", "code": 400}), "busy", False),
        (SimpleNamespace(error={"message": "Insufficient credits"}), "credits", False),
        (SimpleNamespace(error="model crashed"), "model crashed", True),
        (SimpleNamespace(object="error", message="no such model", code=404), "no such", False),
        (SimpleNamespace(detail="Unauthorized"), "Unauthorized", False),
        (SimpleNamespace(errors=[{"code": 7003, "message": "no route"}]), "no route", False),
        (SimpleNamespace(error={"type": "invalid_request_error", "message": "x"}), "x", False),
        (SimpleNamespace(choices=[], error={"message": "slow", "status": 504}), "slow", True),
        (SimpleNamespace(choices=[SimpleNamespace(error={"code": 502})]), "502", True),
    ],
)
def test_what_is_no_answer_says_why_and_whether_to_ask_again(broken, said, again):
    with pytest.raises(EmptyReply, match=said) as fault:
        check_reply(broken)
    assert fault.value.again is again


def test_tokens_are_the_services_count_or_an_estimate():
    messages = [{"role": "user", "content": "x" * 40}]
    counted = reply("y" * 8, usage=SimpleNamespace(prompt_tokens=7, completion_tokens=3))
    assert (
        usage_of(counted, messages).input_tokens,
        usage_of(counted, messages).output_tokens,
    ) == (
        7,
        3,
    )
    estimated = usage_of(reply("y" * 8), messages)
    assert (estimated.input_tokens, estimated.output_tokens) == (10, 2)
    assert [part["text"] for part in parts_of(messages)] == ["x" * 40]
