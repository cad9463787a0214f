"""The provider against a real HTTP server that misbehaves in the ways real ones do."""

import json
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from knowledge.asking.describe import DescribeResult, describe
from knowledge.asking.valid_answers import UnusableAnswers
from knowledge.providers.base.answer_store import AnswerCache
from knowledge.providers.base.budget import Budget, BudgetSpent
from knowledge.providers.base.provider import ProviderOptions
from knowledge.providers.base.usage import Price
from knowledge.providers.openai_compatible import OpenAICompatible
from knowledge.questions.template import Template, Wording
from tests.support.chat_server import (
    Body,
    Reply,
    asked_organ,
    chat_server,
    good_answer,
    is_probe,
    user_text,
)

CLASSES = ("background", "knob", "left handle", "right handle")
TEMPLATE = Template(
    "test", Wording(title="t", system="Be brief.", aspects={"place": "Where is the {organ}?"})
)


def provider(url: str, **changes: object) -> OpenAICompatible:
    options = {"model": "tiny", "base_url": url, "retries": 3, "timeout_seconds": 5.0}
    return OpenAICompatible(ProviderOptions(**{**options, **changes}), "sk-secret")  # type: ignore[arg-type]


def once(first: Reply, *, only: str = "knob"):
    """A server that misbehaves once, at the first question about one organ."""
    done = []

    def behave(body: Body) -> Reply:
        if not is_probe(body) and asked_organ(body) == only and not done:
            done.append(body)
            return first
        return good_answer(body)

    return behave


def test_every_class_is_asked_with_a_schema_and_the_answers_are_kept(tmp_path: Path) -> None:
    with chat_server() as server:
        asked = describe(TEMPLATE, CLASSES, provider(server.url))
    assert [item.organ for item in asked.descriptions.descriptions] == list(CLASSES)
    for body in server.requests:
        assert body["response_format"]["type"] == "json_schema"
        assert "tools" not in body
    others = server.questions[1]["response_format"]["json_schema"]["schema"]["properties"]
    assert others["claims"]["items"]["properties"]["other"]["enum"] == list(CLASSES[2:])
    assert server.keys[0] == "Bearer sk-secret"
    assert '{"relation": R, "other": O}, which reads "knob R O"' in user_text(server.questions[1])


@pytest.mark.parametrize(
    "fault",
    [
        Reply("busy", status=500),
        Reply("slow down", status=429, headers={"Retry-After": "0"}),
        Reply(cut=True),
        Reply(raw=b'{"id": "x", "choices": [{"mess'),
        Reply(raw=b'{"id": "x", "object": "chat.completion"}'),
        Reply(delay_seconds=1.0),
    ],
    ids=["500", "429", "cut", "truncated body", "no choices", "time-out"],
)
def test_a_call_that_fails_is_repeated(fault: Reply) -> None:
    with chat_server(once(fault)) as server:
        asked = describe(TEMPLATE, CLASSES, provider(server.url, timeout_seconds=0.5))
    assert len(asked.descriptions.descriptions) == len(CLASSES)
    assert len(server.questions) == len(CLASSES) + 1
    assert asked.spent.calls == len(CLASSES) + 2  # with the probe and the failed call


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ("I would rather talk about the weather.", "no JSON object"),
        ('{"organ": "knob", "text": "The knob is', "cut-off JSON"),
        ('{"organ": "knob", "text": 7, "claims": [], "attributes": []}', "text: input should be"),
        ('{"text": "It is round and small.", "claims": [], "attributes": []}', "organ: field req"),
        ('{"organ": "lever", "text": "It is round.", "claims": [], "attributes": []}', "'knob'"),
        (
            '{"organ": "knob", "text": "It is round.", "attributes": [], '
            '"claims": [{"relation": "left_of", "other": "lever"}]}',
            "'lever' is not one of the other organs",
        ),
        (
            '{"organ": "knob", "text": "It is round.", "attributes": [], '
            '"claims": [{"relation": "near", "other": "left handle"}]}',
            "claims.0.relation",
        ),
        ("", "empty"),
    ],
)
def test_an_unusable_answer_is_asked_for_again_with_what_is_wrong(
    answer: str, complaint: str
) -> None:
    with chat_server(once(Reply(answer))) as server:
        asked = describe(TEMPLATE, CLASSES, provider(server.url))
    again = [body for body in server.questions if len(body["messages"]) > 2]
    assert len(again) == 1
    assert complaint in user_text(again[0])
    assert asked.descriptions.get("knob", "place").origin.attempts == 2
    assert asked.descriptions.get("left handle", "place").origin.attempts == 1


def test_a_refusal_and_a_cut_off_answer_are_named_as_such() -> None:
    for fault, word in (
        (Reply(None, refusal="I do not do medicine"), "refuses"),
        (Reply('{"organ"', finish_reason="length"), "cut off after 800 tokens"),
    ):
        with chat_server(once(fault)) as server:
            describe(TEMPLATE, CLASSES, provider(server.url))
        assert any(word in user_text(body) for body in server.questions)


def test_prose_around_json_is_read() -> None:
    def chatty(body: Body) -> Reply:
        return Reply(f"Sure! Here {{it}} is:\n```json\n{good_answer(body).content}\n```\nAnything?")

    with chat_server(chatty) as server:
        asked = describe(TEMPLATE, CLASSES, provider(server.url))
    assert asked.descriptions.get("knob", "place").text.startswith("The knob lies")


def test_a_model_that_never_answers_usably_ends_after_the_attempts(tmp_path: Path) -> None:
    def stubborn(body: Body) -> Reply:
        if is_probe(body) or asked_organ(body) != "knob":
            return good_answer(body)
        return Reply("The weather is fine.")

    cache = AnswerCache(tmp_path)
    with chat_server(stubborn) as server:
        with pytest.raises(UnusableAnswers, match=r"knob, aspect place, after 2 attempts.*no JSON"):
            describe(TEMPLATE, CLASSES, provider(server.url), attempts=2, cache=cache)
        asked_before = len(server.questions)
    assert asked_before == len(CLASSES) + 1
    assert len(list(tmp_path.rglob("*.json"))) == len(CLASSES) - 1


def test_a_second_run_asks_nothing_and_a_broken_run_goes_on_where_it_stopped(
    tmp_path: Path,
) -> None:
    broken = True

    def behave(body: Body) -> Reply:
        if not is_probe(body) and asked_organ(body) == "right handle" and broken:
            return Reply("out of order", status=400)
        return good_answer(body)

    cache = AnswerCache(tmp_path / "cache")
    with chat_server(behave) as server:

        def run(**changes: object) -> DescribeResult:
            service = provider(server.url, memory=tmp_path / "servers.json", **changes)
            return describe(TEMPLATE, CLASSES, service, cache=cache)

        with pytest.raises(OSError, match=r"answered 400: .*out of order"):
            run()
        broken = False
        before = len(server.questions)
        run()
        assert len(server.questions) == before + 1
        again = run()
        assert len(server.questions) == before + 1
        assert again.spent.calls == 0
        assert again.descriptions.totals.calls == len(CLASSES) + 1  # one was the probe
        run(temperature=0.5)
        assert len(server.questions) == before + 1 + len(CLASSES)


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        (set(), "json_schema"),
        ({"json_schema"}, "json_object_schema"),
        ({"json_schema", "json_object with schema"}, "json_object"),
        ({"json_schema", "json_object with schema", "json_object"}, "text"),
    ],
)
def test_the_ladder_of_outputs_is_probed_once_and_remembered(
    refused: set[str], expected: str, tmp_path: Path
) -> None:
    def behave(body: Body) -> Reply:
        asked_for = body.get("response_format", {})
        kind = asked_for.get("type", "text") + (" with schema" if "schema" in asked_for else "")
        return Reply("unsupported", status=400) if kind in refused else good_answer(body)

    memory = tmp_path / "servers.json"
    with chat_server(behave) as server:
        first = describe(TEMPLATE, CLASSES, provider(server.url, memory=memory), concurrency=4)
        assert len(server.requests) - len(server.questions) == len(refused) + 1
        describe(TEMPLATE, CLASSES, provider(server.url, memory=memory))
        assert len(server.requests) - len(server.questions) == len(refused) + 1
    assert {item.origin.output for item in first.descriptions.descriptions} == {expected}


def test_a_server_that_knows_only_prose_is_asked_for_prose() -> None:
    def prose(body: Body) -> Reply:
        return Reply(f"The {user_text(body).split()[-1].strip('?')} lies in the middle.")

    with chat_server(prose) as server:
        asked = describe(TEMPLATE, ("background", "knob"), provider(server.url))
        sample = asked.descriptions.get("knob", "place")
        assert sample.text == "The knob lies in the middle."
        assert sample.origin.output == "plain"
        assert "JSON" not in user_text(server.requests[-1])


def test_prose_that_does_not_name_the_organ_is_refused() -> None:
    with (
        chat_server(lambda body: Reply("The weather is fine.")) as server,
        pytest.raises(UnusableAnswers, match="does not name the knob"),
    ):
        describe(TEMPLATE, ("background", "knob"), provider(server.url))


def test_a_wrong_key_is_named_by_its_variable_and_never_shown() -> None:
    refusal = Reply("Incorrect API key provided: sk-secret", status=401)
    with (
        chat_server(lambda body: refusal) as server,
        pytest.raises(OSError, match=r"refuses the key \(401\).*OPENAI_API_KEY") as caught,
    ):
        describe(TEMPLATE, CLASSES, provider(server.url))
    assert "sk-secret" not in str(caught.value)


def test_the_key_is_in_no_file(tmp_path: Path) -> None:
    with chat_server() as server:
        service = provider(server.url, memory=tmp_path / "servers.json")
        asked = describe(TEMPLATE, CLASSES, service, cache=AnswerCache(tmp_path / "cache"))
    asked.descriptions.write(tmp_path / "d.json")
    asked.store.write(tmp_path / "store.json")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == len(CLASSES) + 3
    assert not [path for path in files if b"sk-secret" in path.read_bytes()]


def test_an_unknown_model_is_answered_with_those_that_exist() -> None:
    with (
        chat_server(lambda body: Reply("no such model", status=404)) as server,
        pytest.raises(LookupError, match=r"no model 'tiny'.*there is tiny"),
    ):
        describe(TEMPLATE, CLASSES, provider(server.url))


def test_a_server_that_is_not_there_is_named() -> None:
    with chat_server() as server:
        gone = server.url
    with pytest.raises(OSError, match=f"cannot reach the server at {gone}"):
        describe(TEMPLATE, CLASSES, provider(gone, retries=0))


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_waited_for(date: bool) -> None:
    wait = formatdate(time.time() + 2, usegmt=True) if date else "0.6"
    with chat_server(once(Reply("slow", status=429, headers={"Retry-After": wait}))) as server:
        start = time.monotonic()
        describe(TEMPLATE, CLASSES, provider(server.url))
    assert time.monotonic() - start >= 0.6


def test_an_empty_account_is_not_asked_again() -> None:
    body = json.dumps({"error": {"message": "no money", "code": "insufficient_quota"}}).encode()
    with chat_server(lambda _: Reply(status=429, raw=body)) as server:
        with pytest.raises(OSError, match="429"):
            describe(TEMPLATE, ("background",), provider(server.url))
        assert len(server.requests) == 1


def test_questions_go_out_together_up_to_the_concurrency() -> None:
    def slow(body: Body) -> Reply:
        reply = good_answer(body)
        reply.delay_seconds = 0.0 if is_probe(body) else 0.3
        return reply

    with chat_server(slow) as server:
        start = time.monotonic()
        describe(TEMPLATE, CLASSES, provider(server.url), concurrency=4)
    assert time.monotonic() - start < 0.9  # one after the other: 1.2 s


def test_a_token_limit_stops_before_it_is_passed_with_failed_attempts_counted(
    tmp_path: Path,
) -> None:
    def wasteful(body: Body) -> Reply:
        return good_answer(body) if len(body["messages"]) > 2 or is_probe(body) else Reply("no")

    cache = AnswerCache(tmp_path)
    with chat_server(wasteful) as server:
        budget = Budget(max_tokens=2800)
        with pytest.raises(BudgetSpent, match="2800 tokens"):
            describe(TEMPLATE, CLASSES, provider(server.url), budget=budget, cache=cache)
        assert budget.spent.tokens == 120 * len(server.requests) <= 2800
        assert len(list(tmp_path.rglob("*.json"))) >= 1
        describe(TEMPLATE, CLASSES, provider(server.url), budget=Budget(), cache=cache)


def test_a_cost_limit_needs_a_price_and_stops_before_it_is_passed() -> None:
    with pytest.raises(ValueError, match="needs the model's price"):
        Budget(max_cost_usd=1.0)
    price = Price(input_usd=1.0, output_usd=10.0)
    assert price.of(Budget().spent) == 0
    with chat_server() as server:
        budget = Budget(max_cost_usd=0.009, price=price)
        with pytest.raises(BudgetSpent, match=r"\$0.009"):
            describe(TEMPLATE, CLASSES, provider(server.url), budget=budget)
        assert budget.cost_usd is not None
        assert 0 < budget.cost_usd <= 0.009


def test_samples_are_asked_separately_with_seeds_of_their_own() -> None:
    with chat_server() as server:
        asked = describe(TEMPLATE, ("background", "knob"), provider(server.url, seed=5), samples=3)
    assert sorted(body["seed"] for body in server.questions) == [5, 5, 6, 6, 7, 7]
    assert len(asked.descriptions.get("knob", "place").samples) == 3


def test_the_newer_word_for_the_answer_limit_is_found() -> None:
    def newer(body: Body) -> Reply:
        if "max_tokens" in body:
            return Reply("use max_completion_tokens instead of max_tokens", status=400)
        return good_answer(body)

    with chat_server(newer) as server:
        describe(TEMPLATE, CLASSES, provider(server.url))
        assert server.requests[-1]["max_completion_tokens"] == 800


def test_a_server_that_counts_no_tokens_is_counted_by_estimate() -> None:
    def silent(body: Body) -> Reply:
        reply = good_answer(body)
        reply.usage = None
        return reply

    with chat_server(silent) as server:
        asked = describe(TEMPLATE, ("background", "knob"), provider(server.url))
    assert asked.spent.calls == 3
    characters = sum(len(user_text(body)) for body in server.requests)
    assert asked.spent.input_tokens == pytest.approx(characters / 4, rel=0.1)
    assert 30 < asked.spent.output_tokens < 200
