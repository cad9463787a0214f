"""Calls to a real HTTP server: what each may cost, which secrets go out, which servers err."""

import json
import unicodedata

import pytest

from knowledge.asking.describe import describe
from knowledge.providers.base.answer_store import AnswerCache
from knowledge.providers.base.budget import Budget, BudgetSpent
from knowledge.providers.base.chat import CALL_TOKENS, MESSAGE_TOKENS, ChatClient
from knowledge.providers.base.provider import ProviderOptions
from knowledge.providers.base.usage import Price, Usage
from knowledge.providers.openai_compatible import OpenAICompatible
from knowledge.questions.template import Template, Wording
from tests.support.chat_server import Body, Reply, chat_server, good_answer, is_probe, user_text

CLASSES = ("background", "knob", "left handle", "right handle")
TEMPLATE = Template(
    "test", Wording(title="t", system="Be brief.", aspects={"place": "Where is the {organ}?"})
)


def provider(url: str, key: str = "", **changes: object) -> OpenAICompatible:
    options = {"model": "tiny", "base_url": url, "retries": 3, "timeout_seconds": 5.0}
    return OpenAICompatible(ProviderOptions(**{**options, **changes}), key)  # type: ignore[arg-type]


def test_not_even_the_probe_is_sent_when_it_might_pass_the_limit() -> None:
    with chat_server() as server:
        budget = Budget(max_tokens=500)  # an answer alone may take 800
        with pytest.raises(BudgetSpent, match="500 tokens"):
            describe(TEMPLATE, CLASSES, provider(server.url), budget=budget)
        assert server.requests == []
        assert budget.spent == Usage()


def test_a_call_without_an_answer_counts_as_the_most_that_it_may_have_cost() -> None:
    with chat_server(lambda body: Reply(delay_seconds=2.0)) as server:
        service = provider(server.url, timeout_seconds=0.1, output="plain", retries=9)
        budget = Budget(max_tokens=2600)
        with pytest.raises(BudgetSpent):
            describe(TEMPLATE, ("background",), service, budget=budget)
        sent = len(server.requests)
    assert sent == 2
    assert budget.spent.calls == sent
    assert budget.spent.output_tokens == 800 * sent
    assert budget.spent.tokens <= 2600


def test_repetitions_are_reserved_one_by_one_and_refusals_cost_no_tokens() -> None:
    with chat_server(lambda body: Reply("busy", status=500)) as server:
        budget = Budget(max_tokens=2500)  # one call at a time
        service = provider(server.url, retries=2)
        with pytest.raises(OSError, match="answered 500"):
            describe(TEMPLATE, ("background",), service, budget=budget)
    assert len(server.requests) == 3
    assert budget.spent == Usage(calls=3)


def test_a_server_that_is_not_there_costs_nothing() -> None:
    with chat_server() as server:
        gone = server.url
    budget = Budget(max_tokens=2000)
    with pytest.raises(OSError, match="cannot reach"):
        describe(TEMPLATE, CLASSES, provider(gone, retries=1), budget=budget)
    assert budget.spent == Usage()


def test_estimates_that_proved_too_small_are_enlarged() -> None:
    budget = Budget(max_tokens=10_000)
    expected = Usage(calls=1, input_tokens=100, output_tokens=50)
    with budget.attempt(expected) as attempt:
        attempt.spent = Usage(calls=1, input_tokens=3_000, output_tokens=50)
    with budget.attempt(expected):
        pass  # nobody says what it cost
    assert budget.spent.input_tokens == 6_000
    with budget.attempt(expected) as attempt:
        attempt.spent = Usage(calls=1, input_tokens=3_000)
    with pytest.raises(BudgetSpent, match="next call may take 3050"), budget.attempt(expected):
        pass


def test_a_budget_limits_calls_that_are_under_way_together() -> None:
    def slow(body: Body) -> Reply:
        reply = good_answer(body)
        reply.delay_seconds = 0.0 if is_probe(body) else 0.1
        reply.usage = {"prompt_tokens": 400, "completion_tokens": 700, "total_tokens": 1100}
        return reply

    with chat_server(slow) as server:
        budget = Budget(max_tokens=4000)
        with pytest.raises(BudgetSpent):
            describe(TEMPLATE, CLASSES, provider(server.url), budget=budget, concurrency=4)
    assert 1100 * len(server.requests) == budget.spent.tokens <= 4000


@pytest.mark.parametrize("limit", [1_500, 3_000, 5_000, 12_000])
def test_a_service_that_counts_every_byte_as_a_token_never_passes_the_limit(limit: int) -> None:
    """Tokenizers come close to that with foreign scripts; the estimate is a third of it."""

    def greedy(body: Body) -> Reply:
        reply = good_answer(body)
        sent = sum(len(message["content"].encode()) for message in body["messages"])
        sent += len(json.dumps(body["response_format"], ensure_ascii=False).encode())
        reply.usage = {"prompt_tokens": sent, "completion_tokens": 800, "total_tokens": sent + 800}
        return reply

    price = Price(input_usd=1e6, output_usd=1e6)  # a dollar a token
    wordings = {"place": "ไตอยู่ที่ไหน {organ}? " * 20}
    template = Template("thai", Wording(title="t", system="", aspects=wordings))
    for limits in ({"max_tokens": limit}, {"max_cost_usd": limit, "price": price}):
        budget = Budget(**limits)
        with chat_server(greedy) as server:
            service = provider(server.url, memory=None)
            with pytest.raises(BudgetSpent):
                describe(template, CLASSES * 2, service, budget=budget, concurrency=3)
        assert budget.spent.tokens <= limit
        assert len(server.requests) == budget.spent.calls
        assert (budget.spent.calls > 0) == (limit > 1_500)


def test_a_service_that_counts_no_tokens_is_held_to_the_most_that_it_may_have_taken() -> None:
    def silent(body: Body) -> Reply:
        reply = good_answer(body)
        reply.usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        return reply

    budget = Budget(max_tokens=6000)
    with chat_server(silent) as server:
        with pytest.raises(BudgetSpent, match="count as spent"):
            describe(TEMPLATE, CLASSES, provider(server.url), budget=budget)
        assert 1 < len(server.requests) < len(CLASSES) + 1
    assert 0 < budget.spent.tokens < 3000


@pytest.mark.parametrize(
    "text",
    [
        "The spleen lies left.",
        "脾臟位於左側。",
        "ม้ามอยู่ทางซ้าย",
        "🫀🫁🧠",
        "ﷺﷺﷺ ㍍㌔",
        "\u200b\x00 zzqxj",
    ],
)
def test_no_tokenizer_counts_more_than_is_reserved(text: str) -> None:
    tokenizers = pytest.importorskip("open_clip").tokenizer
    options = ProviderOptions(model="m", base_url="http://127.0.0.1/v1", max_answer_tokens=1)
    body = {"messages": [{"role": "user", "content": text}]}
    reserved = ChatClient(options, "").at_most(body).input_tokens - CALL_TOKENS - MESSAGE_TOKENS
    rewritten = unicodedata.normalize("NFKC", text)
    assert len(tokenizers.SimpleTokenizer(clean="canonicalize").encode(rewritten)) <= reserved
    assert len(tokenizers.SimpleTokenizer().encode(text)) <= reserved


def test_a_picture_is_reserved_at_the_most_that_it_may_count(tmp_path) -> None:
    picture = tmp_path / "p.png"
    picture.write_bytes(b"\x89PNG" * 5000)
    images = dict.fromkeys(CLASSES, (picture, picture))
    with chat_server() as server:
        service = provider(server.url, output="json_schema")
        with pytest.raises(BudgetSpent, match=r"next call may take 10[12]\d{3};"):
            describe(TEMPLATE, CLASSES, service, budget=Budget(max_tokens=90_000), images=images)
        assert server.requests == []
        service = provider(server.url, output="json_schema", tokens_per_image=1_000)
        budget = Budget(max_tokens=9_000)
        describe(TEMPLATE, CLASSES, service, budget=budget, images=images)
        assert budget.spent.calls == len(CLASSES)


def test_a_budget_after_another_goes_on_counting_at_its_own_price() -> None:
    cheap, dear = Price(input_usd=1, output_usd=1), Price(input_usd=100, output_usd=100)
    limits = {"max_tokens": 3_000_000, "max_cost_usd": 150.0}
    million = Usage(calls=1, input_tokens=1_000_000)
    first = Budget(**limits, price=cheap)
    with first.attempt(million):
        pass
    second = Budget(**limits, price=dear, after=first)
    with second.attempt(million):
        pass
    assert (second.spent, second.cost_usd) == (million, 100.0)
    with (
        pytest.raises(BudgetSpent, match=r"2000000 tokens \(\$101.0000\)"),
        second.attempt(million),
    ):
        pass
    third = Budget(**limits, price=cheap, after=second)
    with third.attempt(million):
        pass
    with pytest.raises(BudgetSpent), third.attempt(Usage(calls=1, output_tokens=1)):
        pass


def test_headers_and_query_go_out_with_every_call_as_classic_azure_wants_them() -> None:
    with chat_server() as server:
        url = server.url.replace("/v1", "/openai/deployments/gpt")
        azure = {"headers": {"api-key": "azure-secret"}, "query": {"api-version": "2024-10-21"}}
        describe(TEMPLATE, CLASSES, provider(url, "sk-other", **azure))
    assert len(server.requests) == len(CLASSES) + 1
    expected = "/openai/deployments/gpt/chat/completions?api-version=2024-10-21"
    assert set(server.paths) == {expected}
    assert {sent["api-key"] for sent in server.headers} == {"azure-secret"}
    assert set(server.keys) == {""}  # the key of another service stays here


@pytest.mark.parametrize(
    ("key", "headers", "sent"),
    [
        ("sk-a ", {}, "Bearer sk-a"),
        ("", {}, ""),
        ("sk-a", {"X-Team": "ct"}, "Bearer sk-a"),
        ("sk-a", {"Authorization": "Basic b"}, "Basic b"),
    ],
)
def test_at_most_one_key_is_sent(key: str, headers: dict[str, str], sent: str) -> None:
    with chat_server() as server:
        describe(TEMPLATE, ("background",), provider(server.url, key, headers=headers))
    assert set(server.keys) == {sent}


def test_a_word_of_a_secret_is_masked_and_ordinary_text_is_not() -> None:
    headers = {"Authorization": "Bearer sk-very-secret", "X-Org": "1"}
    said = "key sk-very-secret is wrong; limit 11 of 100 for a Bearer token"
    with (
        chat_server(lambda body: Reply(said, status=402)) as server,
        pytest.raises(OSError, match="402") as end,
    ):
        describe(TEMPLATE, CLASSES, provider(server.url, retries=0, headers=headers))
    assert "secret" not in str(end.value)
    assert "key *** is wrong; limit 11 of 100 for a Bearer token" in str(end.value)


def test_a_service_that_points_elsewhere_takes_no_secret_there() -> None:
    with chat_server() as elsewhere:
        place = elsewhere.url.replace("127.0.0.1", "localhost") + "/chat/completions?code=secret"
        reply = Reply(raw=b"{}", status=307, headers={"Location": place})
        with (
            chat_server(lambda body: reply) as server,
            pytest.raises(
                OSError, match=r"answered 307.*the host 'localhost', .*--base-url"
            ) as end,
        ):
            describe(TEMPLATE, CLASSES, provider(server.url, headers={"api-key": "a-secret"}))
    assert elsewhere.requests == []
    assert "secret" not in str(end.value)


def test_secret_headers_and_queries_are_in_no_message_and_no_file(tmp_path) -> None:
    secret = {"headers": {"api-key": "azure-secret"}, "query": {"code": "query-secret"}}
    for status in (400, 401, 429, 500):
        reply = Reply("azure-secret and query-secret are wrong", status=status)
        with (
            chat_server(lambda body, reply=reply: reply) as server,
            pytest.raises(OSError, match=str(status)) as end,
        ):
            describe(TEMPLATE, CLASSES, provider(server.url, retries=0, **secret))
        assert "secret" not in str(end.value)
        assert end.value.__cause__ is None
    with chat_server() as server:
        service = provider(server.url, memory=tmp_path / "servers.json", **secret)
        made = describe(TEMPLATE, CLASSES, service, cache=AnswerCache(tmp_path / "cache"))
        made.descriptions.write(tmp_path / "d.json")
        made.store.write(tmp_path / "s.json")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == len(CLASSES) + 3
    assert not [path for path in files if b"secret" in path.read_bytes()]


@pytest.mark.parametrize(
    ("url", "advice"),
    [("http://me:secret@127.0.0.1/v1", "--header"), ("http://127.0.0.1/v1?k=secret", "--query")],
)
def test_an_address_that_holds_a_secret_is_refused(url: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice) as end:
        provider(url)
    assert "secret" not in str(end.value)


def test_a_server_that_answers_500_to_an_unknown_format_is_asked_otherwise_at_once() -> None:
    """llama-cpp-python: no json_schema, but a schema beside json_object."""

    def behave(body: Body) -> Reply:
        if body["response_format"]["type"] == "json_schema":
            return Reply("1 validation error: ('body', 'response_format', 'type')", status=500)
        return good_answer(body)

    with chat_server(behave) as server:
        made = describe(TEMPLATE, CLASSES, provider(server.url))
    assert len(server.requests) == len(CLASSES) + 2
    assert {item.origin.output for item in made.descriptions.descriptions} == {"json_object_schema"}
    organ = server.questions[0]["response_format"]["schema"]["properties"]["organ"]
    assert organ["enum"][0] in CLASSES
    assert made.spent.calls == len(server.requests)


def test_line_breaks_inside_json_strings_are_read() -> None:
    def broken(body: Body) -> Reply:
        reply = good_answer(body)
        if not is_probe(body):
            reply.content = str(reply.content).replace(" lies ", " lies\n\n")
        return reply

    with chat_server(broken) as server:
        made = describe(TEMPLATE, ("background", "knob"), provider(server.url))
    assert len(server.questions) == 2
    assert made.descriptions.get("knob", "place").text.startswith("The knob lies where")


def test_calls_under_way_are_kept_when_another_ends_the_run(tmp_path) -> None:
    def behave(body: Body) -> Reply:
        if is_probe(body):
            return good_answer(body)
        if "knob" in user_text(body):
            return Reply("no", status=400, delay_seconds=0.2)
        reply = good_answer(body)
        reply.delay_seconds = 0.6
        return reply

    cache = AnswerCache(tmp_path)
    with chat_server(behave) as server:
        service = provider(server.url)
        with pytest.raises(OSError, match="answered 400"):
            describe(TEMPLATE, ("background", "knob"), service, concurrency=2, cache=cache)
    assert len(list(tmp_path.rglob("*.json"))) == 1
