"""Services that answer oddly: probes that fail in passing, filters, roles, errors in a 200."""

import json
from pathlib import Path

import pytest

from knowledge.asking.describe import describe
from knowledge.asking.valid_answers import UnusableAnswers
from knowledge.providers.base.budget import Budget
from knowledge.providers.base.provider import ProviderOptions
from knowledge.providers.openai_compatible import OpenAICompatible
from knowledge.questions.questions import questions
from knowledge.questions.template import Template, Wording
from tests.support.chat_server import Body, Reply, asked_organ, chat_server, good_answer, is_probe

TEMPLATE = Template(
    "test", Wording(title="t", system="Be brief.", aspects={"place": "Where is the {organ}?"})
)
CLASSES = ("background", "liver", "spleen")


def provider(url: str, key: str = "", **options) -> OpenAICompatible:
    settings = {"model": "m", "base_url": url, "retries": 3, **options}
    return OpenAICompatible(ProviderOptions(**settings), key)


def outputs(result) -> set[str]:
    return {item.origin.output for item in result.descriptions.descriptions}


EMPTY, FILTERED = Reply(""), Reply("", finish_reason="content_filter")
LOADING = Reply("Model is loading, please try again", status=400)


@pytest.mark.parametrize("fault", [EMPTY, FILTERED, LOADING], ids=["empty", "filter", "loading"])
def test_a_passing_fault_of_the_probe_is_repeated_and_the_schema_stays(fault, tmp_path):
    seen = []

    def behave(body: Body) -> Reply:
        seen.append(body)
        return fault if len(seen) <= 2 else good_answer(body)

    memory = tmp_path / "servers.json"
    with chat_server(behave) as server:
        result = describe(TEMPLATE, CLASSES, provider(server.url, memory=memory))
    assert outputs(result) == {"json_schema"}
    (known,) = json.loads(memory.read_text())["servers"]
    assert (known["model"], known["output"]) == ("m", "json_schema")
    assert known["date"].startswith("20")


def test_an_output_whose_answers_are_always_empty_gives_way_to_one_that_works(tmp_path):
    memory = tmp_path / "servers.json"

    def behave(body: Body) -> Reply:
        schema = body.get("response_format", {}).get("type") == "json_schema"
        return EMPTY if schema else good_answer(body)

    with chat_server(behave) as server:
        result = describe(TEMPLATE, CLASSES, provider(server.url, memory=memory))
    assert outputs(result) == {"json_object_schema"}
    assert not memory.exists()


def test_an_output_that_was_filtered_is_tried_again_when_another_works(tmp_path):
    memory, calls = tmp_path / "servers.json", []

    def behave(body: Body) -> Reply:
        calls.append(body)
        return FILTERED if len(calls) <= 4 else good_answer(body)

    with chat_server(behave) as server:
        result = describe(TEMPLATE, CLASSES, provider(server.url, memory=memory))
    assert outputs(result) == {"json_schema"}
    assert json.loads(memory.read_text())["servers"][0]["output"] == "json_schema"


@pytest.mark.parametrize("fault", [Reply("busy", status=503), Reply(delay_seconds=1.0)])
def test_a_probe_that_fails_for_good_is_an_error_and_not_remembered(fault, tmp_path, monkeypatch):
    monkeypatch.setattr("knowledge.providers.base.retry.FIRST_WAIT_SECONDS", 0.01)
    memory = tmp_path / "servers.json"
    with chat_server(lambda body: fault) as server, pytest.raises(OSError, match=r"503|within"):
        describe(TEMPLATE, CLASSES, provider(server.url, memory=memory, timeout_seconds=0.2))
    assert not memory.exists()


def test_a_higher_limit_restores_the_schema_of_a_reasoning_model(tmp_path):
    def behave(body: Body) -> Reply:
        if body["max_tokens"] < 2000:
            return Reply(None, finish_reason="length")
        return good_answer(body)

    memory = tmp_path / "servers.json"
    with chat_server(behave) as server:
        with pytest.raises(OSError, match="--max-answer-tokens"):
            describe(TEMPLATE, CLASSES, provider(server.url, memory=memory))
        higher = provider(server.url, memory=memory, max_answer_tokens=4000)
        assert outputs(describe(TEMPLATE, CLASSES, higher)) == {"json_schema"}


def test_a_probe_that_stays_undecided_is_not_remembered(tmp_path):
    memory = tmp_path / "servers.json"
    with chat_server(lambda body: EMPTY if is_probe(body) else good_answer(body)) as server:
        result = describe(TEMPLATE, CLASSES, provider(server.url, memory=memory))
    assert outputs(result) == {"json_schema"}
    assert not memory.exists()


@pytest.mark.parametrize(
    "content", ["", "<think>Okay, the user wants", '{"ready": tr', "Okay, the user wants"]
)
def test_a_probe_cut_off_in_its_thoughts_asks_for_a_higher_limit(content, tmp_path):
    memory = tmp_path / "servers.json"
    with (
        chat_server(lambda body: Reply(content, finish_reason="length")) as server,
        pytest.raises(OSError, match=r"cut off after 800 tokens.*--max-answer-tokens"),
    ):
        describe(TEMPLATE, CLASSES, provider(server.url, memory=memory))
    assert not memory.exists()


def test_what_is_remembered_can_be_found_out_anew(tmp_path):
    memory = tmp_path / "servers.json"
    refusing = []

    def behave(body: Body) -> Reply:
        if refusing and "response_format" in body:
            return Reply("response_format is not supported", status=400)
        return good_answer(body)

    with chat_server(behave) as server:
        refusing.append(True)
        assert outputs(describe(TEMPLATE, CLASSES, provider(server.url, memory=memory))) == {"text"}
        refusing.clear()
        again = describe(TEMPLATE, CLASSES, provider(server.url, memory=memory))
        assert outputs(again) == {"text"}
        anew = provider(server.url, memory=memory, probe_again=True)
        assert outputs(describe(TEMPLATE, CLASSES, anew)) == {"json_schema"}


def test_the_memory_of_the_first_version_is_not_trusted(tmp_path):
    memory = tmp_path / "servers.json"
    with chat_server() as server:
        memory.write_text(json.dumps({"outputs": {f"{server.url} m": "plain"}}))
        result = describe(TEMPLATE, CLASSES, provider(server.url, memory=memory))
    assert outputs(result) == {"json_schema"}


def raw(**fields) -> bytes:
    message = {"role": "assistant", **fields}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return json.dumps(
        {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    ).encode()


def test_parts_of_an_answer_are_joined(tmp_path):
    def behave(body: Body) -> Reply:
        text = good_answer(body).content
        parts = [{"type": "reasoning", "text": "Hm."}, {"type": "text", "text": text[:9]}]
        return Reply(raw=raw(content=[*parts, {"type": "text", "text": text[9:]}]))

    with chat_server(behave) as server:
        result = describe(TEMPLATE, CLASSES, provider(server.url))
    assert result.descriptions.get("liver", "place").text.startswith("The liver lies where")


def test_thoughts_beside_or_instead_of_the_answer_are_never_the_answer():
    def beside(body: Body) -> Reply:
        text = good_answer(body).content
        return Reply(raw=raw(content=text, reasoning_content='{"text": "A draft, not sure."}'))

    with chat_server(beside) as server:
        result = describe(TEMPLATE, CLASSES, provider(server.url))
    assert "draft" not in result.descriptions.model_dump_json()

    def instead(body: Body) -> Reply:
        if is_probe(body):
            return good_answer(body)
        return Reply(raw=raw(content=None, reasoning_content=good_answer(body).content))

    with (
        chat_server(instead) as server,
        pytest.raises(UnusableAnswers, match="the answer is empty beside its thoughts"),
    ):
        describe(TEMPLATE, CLASSES, provider(server.url))


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        ({"message": "Invalid request: no such route", "code": 400}, 1),
        ({"message": "upstream is busy", "code": 503}, 4),
    ],
)
def test_an_error_in_a_200_keeps_its_reason_and_is_repeated_only_where_that_helps(
    error, calls, monkeypatch
):
    monkeypatch.setattr("knowledge.providers.base.retry.FIRST_WAIT_SECONDS", 0.01)
    with (
        chat_server(lambda body: Reply(raw=json.dumps({"error": error}).encode())) as server,
        pytest.raises(OSError, match=error["message"]),
    ):
        provider(server.url).ask(questions(TEMPLATE, CLASSES, 1, None)[0], Budget())
    assert len(server.requests) == calls


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"message": "The response was filtered", "code": "content_filter"}, 400),
        ({"message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}, 400),
        ({"message": "Content Exists Risk", "code": "invalid_request_error"}, 400),
        ({"message": "model requires moderation on OpenInference", "code": 403}, 403),
    ],
)
def test_a_filter_that_refuses_one_organ_names_it_and_the_others_are_kept(error, status):
    refusal = {"error": error}

    def behave(body: Body) -> Reply:
        if not is_probe(body) and asked_organ(body) == "spleen":
            return Reply(raw=json.dumps(refusal).encode(), status=status)
        return good_answer(body)

    with (
        chat_server(behave) as server,
        pytest.raises(UnusableAnswers, match=r"spleen.*content filter") as fault,
    ):
        describe(TEMPLATE, CLASSES, provider(server.url))
    assert "about liver" not in str(fault.value)
    assert {asked_organ(body) for body in server.questions} == set(CLASSES)


@pytest.mark.parametrize(
    "message",
    [
        "System role not supported",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "Developer instruction is not enabled for models/gemma-3-1b-it",
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        "Only user and assistant roles are supported!",
        "Input should be 'user' or 'assistant'",
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_a_model_without_a_system_role_gets_its_text_in_the_question(message, status):
    def behave(body: Body) -> Reply:
        if any(turn["role"] == "system" for turn in body["messages"]):
            return Reply(message, status=status)
        return good_answer(body)

    with chat_server(behave) as server:
        describe(TEMPLATE, CLASSES, provider(server.url))
        assert len(server.questions) == len(CLASSES) + 1
        last = server.questions[-1]["messages"]
    assert [turn["role"] for turn in last] == ["user"]
    assert last[0]["content"].startswith("Be brief.")


def test_a_complaint_that_only_sounds_like_one_of_roles_is_shown():
    with (
        chat_server(
            lambda body: (
                good_answer(body)
                if is_probe(body)
                else Reply("the system message is odd", status=400)
            )
        ) as server,
        pytest.raises(OSError, match="the system message is odd"),
    ):
        describe(TEMPLATE, ("background",), provider(server.url))
    assert [turn["role"] for turn in server.questions[-1]["messages"]] == ["user"]


@pytest.mark.parametrize("echo", ["{}", "%{}", "upper", "base64"])
def test_a_key_that_a_service_echoes_is_shown_and_stored_nowhere(echo, tmp_path):
    import base64
    from urllib.parse import quote

    from knowledge.providers.base.answer_store import AnswerCache

    key = "sk-Secret/Key+42"
    forms = {"{}": key, "%{}": quote(key, safe=""), "upper": key.upper()}
    forms["base64"] = base64.b64encode(key.encode()).decode().rstrip("=")
    form = forms[echo]

    def behave(body: Body) -> Reply:
        if is_probe(body):
            return good_answer(body)
        answer = json.loads(good_answer(body).content)
        answer["text"] += f" Your key is {form}."
        return Reply(json.dumps(answer))

    cache = AnswerCache(tmp_path / "cache")
    with chat_server(behave) as server:
        result = describe(TEMPLATE, CLASSES, provider(server.url, key), cache=cache)
    stored = "".join(p.read_text() for p in Path(tmp_path).rglob("*") if p.is_file())
    for text in (stored, result.descriptions.model_dump_json(), result.store.model_dump_json()):
        assert form not in text
        assert "***" in text
