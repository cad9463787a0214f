"""Answers and replies that nobody should have to expect: none may end a run with a traceback."""

import json
from pathlib import Path

import pytest

from knowledge.asking.describe import describe
from knowledge.asking.valid_answers import UnusableAnswers
from knowledge.providers.base.answer_store import AnswerCache, CachedAnswer
from knowledge.providers.base.find_json import InvalidAnswer
from knowledge.providers.base.provider import ProviderOptions
from knowledge.providers.base.usage import Usage
from knowledge.providers.openai_compatible import OpenAICompatible
from knowledge.questions.answer_format import read_answer
from knowledge.questions.template import Template, Wording
from tests.support.chat_server import Body, Reply, asked_organ, chat_server, good_answer

CLASSES = ("background", "knob")
TEMPLATE = Template("test", Wording(title="t", aspects={"place": "Where is the {organ}?"}))


def answer(text: str = "The knob lies on the lid.", **changes: object) -> str:
    return json.dumps({"organ": "knob", "text": text, "claims": [], "attributes": []} | changes)


def provider(url: str, **changes: object) -> OpenAICompatible:
    options = {"model": "tiny", "base_url": url, "retries": 0, "output": "text"}
    return OpenAICompatible(ProviderOptions(**{**options, **changes}), "sk-a-secret")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ('{"a":' * 5_000, "cut-off JSON"),
        ('{"text":' + "[" * 50_000, "cut-off JSON"),
        ('{"a":' * 5_000 + "1" + "}" * 5_000, "cut-off JSON"),
        (f'{{"text": {"9" * 5_000}}}', "cut-off JSON"),
        ("{" * 1_000_000, "longer than 100000 characters"),
        (answer("The knob \x1b[2J is here."), r"control character U\+001B"),
        (answer("The knob \x00 is here."), r"control character U\+0000"),
        (answer("The knob \x9b2J is here."), r"control character U\+009B"),
        (answer("The knob \u202ei right of it."), r"control character U\+202E"),
        (answer("The knob \ud800 is here."), "text: input should be a valid string"),
        (answer(attributes=["round", "\x1b[2J"]), r"attributes: must not hold"),
        (answer(claims=[{"relation": "inside", "other": "x" * 9_000}]), "xxx...' is not one of"),
    ],
)
def test_an_answer_that_does_harm_is_refused_in_short_and_plain_words(
    raw: str, complaint: str
) -> None:
    with pytest.raises(InvalidAnswer, match=complaint) as end:
        read_answer(raw, "text", "knob", CLASSES)
    assert str(end.value).isprintable()
    assert len(str(end.value)) < 400


def test_an_answer_beside_a_number_that_python_does_not_read_is_found() -> None:
    raw = f'{{"x": {"9" * 5_000}}} {answer()}'
    assert read_answer(raw, "text", "knob", CLASSES).text == "The knob lies on the lid."


def test_prose_of_one_word_is_asked_for_again() -> None:
    with pytest.raises(InvalidAnswer, match="at least 10 characters"):
        read_answer("Knob.", "plain", "knob", CLASSES)


@pytest.mark.parametrize("output", ["text", "plain"])
def test_what_a_model_thought_aloud_is_no_part_of_its_answer(output: str) -> None:
    said = answer() if output == "text" else "The knob lies on the lid."
    thought = f"<think>The user asks about the knob. Perhaps {answer('The knob is a door.')}?"
    reading = read_answer(f"{thought}</think>\n{said}", output, "knob", CLASSES)
    assert reading.text == "The knob lies on the lid."
    with pytest.raises(InvalidAnswer, match="thoughts and nothing else"):
        read_answer(thought, output, "knob", CLASSES)


def reply(**changes: object) -> Reply:
    """A reply whose JSON is a chat completion but for the changes."""
    whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "tiny"}
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": answer()}}
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
    raw = whole | {"choices": [choice], "usage": usage} | changes
    return Reply(raw=json.dumps(raw).encode())


@pytest.mark.parametrize(
    "broken",
    [
        reply(choices=[{"index": 0}]),
        reply(choices=[{"index": 0, "message": None}]),
        reply(choices=[{"index": 0, "message": {"content": {"text": "x"}}}]),
        reply(choices="abc"),
        reply(model=5),
        Reply("The knob \ud800 is here."),
        Reply(raw=b'{"a":' * 100_000),
    ],
    ids=["no message", "null", "object", "no list", "no name", "no unicode", "deep"],
)
def test_a_reply_that_is_no_chat_completion_is_an_error_of_the_service(broken: Reply) -> None:
    with (
        chat_server(lambda body: broken) as server,
        pytest.raises(OSError, match="does not answer with chat completions"),
    ):
        describe(TEMPLATE, CLASSES, provider(server.url))


@pytest.mark.parametrize("count", [-5, 5.5, [5]])
def test_a_count_of_tokens_that_cannot_be_is_replaced_by_an_estimate(count: object) -> None:
    def behave(body: Body) -> Reply:
        made = good_answer(body)
        made.usage = {"prompt_tokens": count, "completion_tokens": 1, "total_tokens": 1}  # type: ignore[dict-item]
        return made

    with chat_server(behave) as server:
        made = describe(TEMPLATE, CLASSES, provider(server.url))
    assert made.spent.calls == len(CLASSES)
    assert 50 < made.spent.input_tokens < 2_000


def test_no_message_of_a_service_reaches_the_terminal_as_a_command() -> None:
    with (
        chat_server(lambda body: Reply("\x1b[2J gone \x9b2J", status=400)) as server,
        pytest.raises(OSError, match="gone") as end,
    ):
        describe(TEMPLATE, CLASSES, provider(server.url))
    assert str(end.value).isprintable()
    with (
        chat_server(lambda body: Reply("", refusal="\x1b[2J no")) as server,
        pytest.raises(UnusableAnswers, match="refuses") as unusable,
    ):
        describe(TEMPLATE, CLASSES, provider(server.url))
    assert str(unusable.value).isprintable()


def test_a_kept_answer_that_is_refused_by_now_is_asked_for_again(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    with chat_server() as server:
        service = provider(server.url)
        describe(TEMPLATE, CLASSES, service, cache=cache)
        (path,) = [path for path in tmp_path.rglob("*.json") if "knob" in path.read_text()]
        usage = Usage(calls=1, input_tokens=5, output_tokens=5)
        bad = CachedAnswer(
            raw=answer("The knob \x1b[2J"), model="m", output="text", attempts=1, usage=usage
        )
        cache.put(path.stem, bad)
        made = describe(TEMPLATE, CLASSES, service, cache=cache)
    assert [asked_organ(body) for body in server.requests] == ["background", "knob", "knob"]
    assert made.descriptions.get("knob", "place").text.isprintable()
