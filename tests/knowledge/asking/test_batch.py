"""Answer files of batches as services write them, and as they should not be."""

import json

import pytest

from knowledge.asking.batch import BatchProvider, BatchReplies, BatchReply, Lines
from knowledge.asking.batch_file import BatchLine, read_lines, write_requests
from knowledge.asking.valid_answers import Unanswered
from knowledge.providers.base.budget import Budget
from knowledge.providers.base.provider import ProviderOptions
from knowledge.providers.base.usage import Usage
from knowledge.providers.openai_compatible import PROBE, OpenAICompatible
from knowledge.questions.questions import question_digest

SERVICE = OpenAICompatible(ProviderOptions(model="tiny", base_url="http://localhost:1/v1"), "")
KEY = question_digest(PROBE, SERVICE)
MESSAGE = {"role": "assistant", "content": "{}"}
COMPLETION = {"id": "c", "object": "chat.completion", "created": 1, "model": "m-1",
              "choices": [{"index": 0, "finish_reason": "stop", "message": MESSAGE}],
              "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
              "system_fingerprint": "fp"}  # fmt: skip


def provider(folder, *lines):
    return BatchProvider(SERVICE, BatchReplies(folder), Lines.sorted(lines))


def test_requests_are_lines_of_the_batch_format(tmp_path):
    asked = provider(tmp_path)
    with pytest.raises(Unanswered):
        asked.ask(PROBE, Budget())
    write_requests(tmp_path / "q.jsonl", asked.requests())
    (line,) = (tmp_path / "q.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert list(row) == ["custom_id", "method", "url", "body"]
    assert (row["custom_id"], row["method"], row["url"]) == (KEY, "POST", "/v1/chat/completions")
    assert row["body"]["model"] == "tiny"
    assert row["body"]["max_completion_tokens"] == 800
    assert row["body"]["response_format"]["json_schema"]["strict"] is True


def test_an_answer_carries_its_origin_and_is_counted_once(tmp_path):
    line = BatchLine("a:1", KEY, COMPLETION)
    budget = Budget()
    answer = provider(tmp_path, line).ask(PROBE, budget)
    assert (answer.model, answer.service, answer.output) == ("m-1", "fp", "json_schema")
    assert answer.date == "1970-01-01T00:00:01+00:00"
    assert budget.spent == Usage(calls=1, input_tokens=5, output_tokens=2)
    again = Budget()
    later = provider(tmp_path, line)
    assert later.ask(PROBE, again) == answer
    assert again.spent == Usage()
    assert later.earlier == budget.spent


def test_usage_that_the_service_leaves_out_counts_as_the_most_against_limits(tmp_path):
    body = {key: value for key, value in COMPLETION.items() if key != "usage"}
    provider(tmp_path, BatchLine("a:1", KEY, body)).ask(PROBE, Budget())
    kept = BatchReplies(tmp_path).get(KEY)
    assert kept.usage.tokens < 100
    assert kept.most.output_tokens == 800


@pytest.mark.parametrize(
    "body",
    [
        {}, {"choices": 3}, {"choices": []}, {"choices": [None]}, {"choices": [{"message": 1}]},
        {"choices": [{"message": {"content": 5}}]}, {"_fields_set": 1}, {"self": 1, "values": 2},
        {"error": "no"}, {**COMPLETION, "model": 7},
        {**COMPLETION, "choices": [{"message": {"content": "\ud800"}}]},
    ],
)  # fmt: skip
def test_a_body_that_is_no_completion_is_an_error_of_its_line(tmp_path, body):
    asked = provider(tmp_path, BatchLine("a:1", KEY, body))
    with pytest.raises(Unanswered):
        asked.ask(PROBE, Budget())
    assert asked.errors[KEY].error
    assert list(asked.open) == [KEY]


@pytest.mark.parametrize("created", [None, "x", -1, 10**30, True, 1.5])
def test_a_time_that_is_none_does_no_harm(tmp_path, created):
    line = BatchLine("a:1", KEY, {**COMPLETION, "created": created})
    assert provider(tmp_path, line).ask(PROBE, Budget()).text == "{}"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"custom_id": "k", "respo', "no JSON"),
        (b"[1]", "no custom_id"),
        (b'{"custom_id": 5, "response": {}}', "no custom_id"),
        (b'{"custom_id": "k"}', "neither response nor error"),
        (b"[" * 100_000, "no JSON"),
        (b"\xff\xfe", "no JSON"),
    ],
)
def test_a_damaged_line_is_named_and_the_next_is_read(tmp_path, raw, words):
    path = tmp_path / "a.jsonl"
    good = {"custom_id": KEY, "response": {"status_code": 200, "body": COMPLETION}}
    path.write_bytes(raw + b"\n" + json.dumps(good).encode() + b"\n")
    damaged, line = read_lines(path)
    assert damaged.damaged
    assert damaged.error.startswith(words)
    assert damaged.place == f"{path}:1"
    assert line == BatchLine(f"{path}:2", KEY, COMPLETION)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"response": None, "error": {"code": "batch_expired", "message": "late"}},
         "batch_expired, late"),
        ({"response": {"status_code": 400, "body": {"error": {"message": "a\nb"}}}},
         "status 400: a b"),
        ({"response": {"status_code": 500, "body": "gone"}}, "status 500: gone"),
        ({"response": {"status_code": 200, "body": None}}, "no response"),
        ({"error": "text alone"}, "text alone"),
        ({"response": {"status_code": 400, "body": {}}, "error": {"error": {"message": "vllm"}}},
         "status 400: vllm"),
    ],
)  # fmt: skip
def test_errors_of_lines_are_words_on_one_line(tmp_path, row, words):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"custom_id": KEY, **row}))
    (line,) = read_lines(path)
    assert line.body is None
    assert line.error == words


def test_an_answer_goes_before_an_error_in_whatever_order_they_come():
    good, bad = BatchLine("a:1", "k", COMPLETION), BatchLine("b:1", "k", None, "expired")
    for lines in ([good, bad], [bad, good]):
        assert Lines.sorted(lines).by_key == {"k": good}
        assert Lines.sorted(lines).repeated == []


@pytest.mark.parametrize("key", ["../../outside", "k" * 63 + "/", "é" * 64, ""])
def test_a_key_from_a_file_names_no_path(tmp_path, key):
    replies = BatchReplies(tmp_path / "replies")
    assert replies.get(key) is None
    reply = BatchReply(text="t", model="m", output="text", usage=Usage(), most=Usage())
    replies.put(KEY, reply)
    assert replies.get(KEY) == reply
    assert [path.name for path in tmp_path.rglob("*.json")] == [f"{KEY}.json"]
