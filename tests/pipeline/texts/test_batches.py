"""`tak describe --batch-out` and `--batch-in`: files that another program answers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from knowledge.descriptions import DescriptionSet
from pipeline.texts import batches
from tests.support.batch_runner import run as answer_batch
from tests.support.chat_server import Reply, asked_organ, chat_server, good_answer, user_text
from tests.support.paths import ROOT

MODEL = ("--provider", "openai_compatible", "--model", "tiny", "--cache", "cache")


@pytest.fixture
def describe(tak, monkeypatch, tmp_path):
    """Run `tak describe synapse` in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def run(*words, organs="synapse"):
        return tak("describe", organs, *MODEL, "-o", "d.json", *words)

    return run


def rows(name):
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def write_rows(name, content):
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in content))


def answered(requests, answers, behave=good_answer):
    with chat_server(behave) as server:
        answer_batch(Path(requests), Path(answers), server.url.removesuffix("/v1"))
        return server.requests


def test_a_program_answers_the_file_and_the_descriptions_equal_live_ones(describe, tmp_path):
    code, _, err = describe("--batch-out", "q.jsonl")
    assert code == 0
    assert "q.jsonl: 28 questions" in err
    asked = rows("q.jsonl")
    assert all(row["body"]["response_format"]["type"] == "json_schema" for row in asked)
    assert len({row["custom_id"] for row in asked}) == 28
    with chat_server() as server:
        words = ["q.jsonl", "a.jsonl", server.url.removesuffix("/v1")]
        subprocess.run(
            [sys.executable, "-m", "tests.support.batch_runner", *words],
            check=True, env={"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    code, out, err = describe("--batch-in", "a.jsonl")
    assert code == 0, err
    assert "28 answers" in out
    assert "this run: 28 calls, 3360 tokens" in out
    by_batch = DescriptionSet.read(tmp_path / "d.json")
    # The custom_id is the key of the answer cache: live asking finds all 28 answers there.
    assert all((tmp_path / "cache" / r["custom_id"][:2]).is_dir() for r in asked)
    code, out, _ = describe("-o", "live.json")
    assert code == 0
    assert "this run: 0 calls" in out
    live = DescriptionSet.read(tmp_path / "live.json")
    assert live == by_batch
    assert by_batch.descriptions[0].samples[0].origin.output == "json_schema"
    assert by_batch.descriptions[0].samples[0].origin.date == "1970-01-01T00:00:00+00:00"


def test_invalid_answers_are_repeated_with_the_complaint_in_the_next_batch(describe):
    def stubborn(body):
        if asked_organ(body) == "liver":
            return Reply("I do not know.")
        return good_answer(body)

    describe("--batch-out", "q1.jsonl", "--attempts", "2")
    answered("q1.jsonl", "a1.jsonl", stubborn)
    code, _, err = describe("--batch-in", "a1.jsonl", "--batch-out", "q2.jsonl", "--attempts", "2")
    assert code == 4
    assert "2 questions are open" in err
    assert not Path("d.json").exists()
    again = rows("q2.jsonl")
    assert len(again) == 2
    assert all("no JSON object" in user_text(row["body"]) for row in again)
    assert not {row["custom_id"] for row in again} & {row["custom_id"] for row in rows("q1.jsonl")}
    answered("q2.jsonl", "a2.jsonl")
    code, out, _ = describe("--batch-in", "a2.jsonl", "--attempts", "2")
    assert code == 0
    assert "this run: 2 calls" in out
    assert "all answers together: 30 calls" in out
    made = DescriptionSet.read(Path("d.json"))
    attempts = {d.organ: d.samples[0].origin.attempts for d in made.descriptions}
    assert attempts == {name: 2 if name == "liver" else 1 for name in made.classes}
    # Reading every file again changes nothing and counts nothing.
    code, out, _ = describe("--batch-in", "a1.jsonl", "--batch-in", "a2.jsonl", "--attempts", "2")
    assert code == 0
    assert "this run: 0 calls" in out
    assert DescriptionSet.read(Path("d.json")) == made


def test_a_model_that_never_answers_well_is_given_up_after_the_attempts(describe):
    def never(body):
        return Reply("no") if asked_organ(body) == "liver" else good_answer(body)

    describe("--batch-out", "q.jsonl", "--attempts", "1")
    answered("q.jsonl", "a.jsonl", never)
    code, _, err = describe("--batch-in", "a.jsonl", "--batch-out", "next.jsonl", "--attempts", "1")
    assert code == 1
    assert "no usable answer about liver, aspect position, after 1 attempts" in err
    assert not Path("next.jsonl").exists()


def test_errors_missing_repeated_unknown_and_damaged_lines_leave_questions_open(describe):
    describe("--batch-out", "q.jsonl")
    answered("q.jsonl", "a.jsonl")
    good = rows("a.jsonl")
    refused = {"status_code": 429, "request_id": "r",
               "body": {"error": {"message": "slow down", "code": "rate_limit"}}}  # fmt: skip
    lines = [json.dumps(row) for row in good[5:]]
    lines[0] = lines[0][:-9]  # cut off, question 5
    lines.append(json.dumps({**good[0], "response": refused}))
    lines.append(json.dumps({**good[1], "response": None,
                             "error": {"code": "batch_expired", "message": "late"}}))  # fmt: skip
    lines.append(json.dumps({**good[2], "response": {"status_code": 200, "body": {"x": 1}}}))
    lines.append(json.dumps({**good[6], "custom_id": "f" * 64}))
    lines.append(json.dumps({"response": {}}))
    other = json.loads(json.dumps(good[6]).replace("always lies", "never lies"))
    lines += [json.dumps(good[6]), json.dumps(other)]  # the same again, and another answer
    Path("odd.jsonl").write_text("\n\n".join(lines) + "\n")
    code, _, err = describe("--batch-in", "odd.jsonl", "--batch-out", "next.jsonl")
    assert code == 4
    assert "read 26 answers: 22 calls" in err
    assert "damaged lines left out: 2 (odd.jsonl:1: no JSON (cut off?)" in err
    assert "errors instead of answers: 3 (" in err
    assert "status 429: rate_limit, slow down" in err
    assert "batch_expired, late" in err
    assert "the reply holds no answer" in err
    assert "second answers that differ, left out: 1 (odd.jsonl:" in err
    assert "answers to unknown questions, left out: 1 (" in err
    # Missing (3, 4), failed (0, 1, 2) and cut off (5): word for word the questions of before.
    assert rows("next.jsonl") == rows("q.jsonl")[:6]
    answered("next.jsonl", "b.jsonl")
    assert describe("--batch-in", "b.jsonl")[0] == 0
    kept = DescriptionSet.read(Path("d.json"))
    assert "never lies" not in kept.descriptions[6].samples[0].text


def test_an_error_file_beside_the_answers_is_read_and_a_filter_counts_as_an_attempt(describe):
    describe("--batch-out", "q.jsonl", "--attempts", "1")
    answered("q.jsonl", "a.jsonl")
    good = rows("a.jsonl")
    body = {"error": {"code": "content_filter", "message": "flagged by moderation"}}
    write_rows("errors.jsonl", [{**good[0], "response": {"status_code": 400, "body": body}}])
    write_rows("a.jsonl", good[1:])
    words = ("--batch-in", "a.jsonl", "--batch-in", "errors.jsonl", "--attempts", "1")
    code, _, err = describe(*words)
    assert code == 1
    assert "content filter stopped the answer" in err


def test_limits_hold_over_all_batches_and_stop_before_a_file_is_written(describe):
    code, _, err = describe("--batch-out", "q.jsonl", "--max-tokens-total", "1000")
    assert code == 1
    assert "more than --max-tokens-total 1000; nothing was written" in err
    assert not Path("q.jsonl").exists()
    describe("--batch-out", "q.jsonl")
    answered("q.jsonl", "a.jsonl", lambda body: good_answer(body) if asked_organ(body) != "liver"
             else Reply("no"))  # fmt: skip
    code, _, err = describe("--batch-in", "a.jsonl", "--batch-out", "n.jsonl",
                       "--max-tokens-total", "4000")  # fmt: skip
    assert code == 1
    assert "in addition to 3360 of earlier ones" in err
    table = Path("prices.toml")
    table.write_text('date = "2026"\n[models.tiny]\ninput_usd = 1.0\noutput_usd = 1.0\n')
    words = ("--batch-out", "n.jsonl", "--prices", "prices.toml", "--max-cost")
    code, _, err = describe(*words, "0.0034")
    assert code == 1
    assert "in addition to $0.0034 of earlier ones, more than --max-cost 0.0034" in err
    code, _, err = describe(*words, "5")
    assert code == 0
    assert len(rows("n.jsonl")) == 2


def test_corrections_on_evidence_are_questions_of_the_next_batch(describe, prepared):
    def wrong_once(body):
        organ = asked_organ(body)
        corrected = len(body["messages"]) > 2
        claim = {"relation": "right_of" if corrected else "left_of", "other": "spleen"}
        claims = [claim] if organ == "liver" else []
        text = f"The {organ} lies where it lies."
        return Reply(json.dumps({"organ": organ, "text": text, "claims": claims, "attributes": []}))

    words = ("--verify", "--scans", prepared.root)
    describe("--batch-out", "q1.jsonl", *words, organs="phantom")
    answered("q1.jsonl", "a1.jsonl", wrong_once)
    files = ("--batch-in", "a1.jsonl", "--batch-out", "q2.jsonl")
    code, _, _ = describe(*files, *words, organs="phantom")
    assert code == 4
    assert len(rows("q2.jsonl")) == 2
    assert all("labeled scans" in user_text(row["body"]) for row in rows("q2.jsonl"))
    answered("q2.jsonl", "a2.jsonl", wrong_once)
    code, out, err = describe("--batch-in", "a2.jsonl", *words, organs="phantom")
    assert code == 0, err
    assert "liver, position: 1 contradicted, 1 corrected, 0 left" in out


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "there is no file in.jsonl"),
        ("", "in.jsonl is empty"),
        ('{"custom_id": "x", "method": "POST", "url": "/v1"}\n', "in.jsonl:1 is a request"),
        (
            '{"custom_id": "x", "response": {"body": {}}}\n',
            "none of the 1 answers is to",
        ),
    ],
)
def test_a_file_that_answers_nothing_is_refused_in_one_line(describe, content, complaint):
    if content is not None:
        Path("in.jsonl").write_text(content)
    code, _, err = describe("--batch-in", "in.jsonl")
    assert code == 1
    assert complaint in err


def test_what_no_batch_can_do_is_refused(describe):
    assert "name another --cache folder" in describe("--batch-out", "q.jsonl", "--refresh")[2]
    code, _, err = describe("--provider", "recorded", "--model", "", "--batch-out", "q.jsonl")
    assert code == 1
    assert "the provider recorded has no batches" in err


def test_a_file_beyond_the_services_limits_is_said(describe, monkeypatch):
    monkeypatch.setattr(batches, "MOST_REQUESTS", 10)
    assert "split the file by lines" in describe("--batch-out", "q.jsonl")[2]
