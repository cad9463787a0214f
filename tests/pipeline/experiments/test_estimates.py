"""What a study will ask: as many calls and tokens as the dry runs of its description sets."""

import json
import re

from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.experiments.estimates import QuestionEstimate, estimate_questions
from pipeline.experiments.plan_view import plan_json, plan_lines
from pipeline.experiments.planning import plan
from pipeline.experiments.store import Store
from pipeline.experiments.study import Study
from tests.support.chat_server import chat_server

STUDY = """
title = "Live"
until = "bank"
[data]
descriptor = "hand.toml"
[fixed]
provider = "openai_compatible"
encoder = "hashing:8"
prices = "prices.toml"
base_url = "{url}"
[axes]
wording = ["terse", "paper", "class-name"]
model = ["cheap", "unlisted"]
samples = [1, 2]
[limits]
max_tokens = 1000
"""
PRICES = 'date = "today"\n[models.cheap]\ninput_usd = 1000\noutput_usd = 10000\n'


def planned(folder, url="http://127.0.0.1:9/v1"):
    (folder / "hand.toml").write_text('organs = ["scaphoid", "lunate"]')
    (folder / "prices.toml").write_text(PRICES)
    (folder / "live.toml").write_text(STUDY.format(url=url))
    store = Store(folder / "store")
    return plan(Study.read(folder / "live.toml"), store), store


def dry_run(folder, url, *words):
    """Calls, input and output tokens by `tak describe --dry-run`."""
    base = ["describe", str(folder / "hand.toml"), "--provider", "openai_compatible", "--dry-run"]
    base += ["--base-url", url, "--cache", str(folder / "store" / "answers")]
    done = CliRunner().invoke(app, [*base, *words])
    assert done.exit_code == 0, done.exception
    numbers = re.search(r"(\d+) calls to make, at most (\d+) input and (\d+) output", done.output)
    return [int(number) for number in numbers.groups()]


def test_the_estimate_is_the_sum_of_the_dry_runs(tmp_path):
    url = "http://127.0.0.1:9/v1"
    made, store = planned(tmp_path, url)
    asked = estimate_questions(made, store)
    # Samples 1 of the sets with two samples are those of the sets with one.
    runs = {
        model: [
            dry_run(tmp_path, url, "--model", model, "--template", wording, "--samples", "2")
            for wording in ("terse", "paper")
        ]
        for model in ("cheap", "unlisted")
    }
    calls, inputs, outputs = (
        sum(col) for col in zip(*runs["cheap"], *runs["unlisted"], strict=True)
    )
    assert (asked.calls, asked.input_tokens, asked.output_tokens) == (calls, inputs, outputs)
    assert asked.questions == 3 * 2 * (1 + 2) * 2 * 2, "class names ask nobody"
    cost = sum(1e-3 * run[1] + 1e-2 * run[2] for run in runs["cheap"])
    assert abs(asked.cost_usd - cost) < 1e-9
    assert asked.unpriced == ("unlisted",)
    text = "\n".join(plan_lines(made, asked))
    assert f"{calls} calls to make" in text
    assert "price of unlisted unknown" in text
    assert "more than the limit of 1000 tokens" in text
    assert json.loads(plan_json(made, asked))["questions"]["calls"] == calls


def test_what_is_answered_is_not_counted_again(tmp_path):
    with chat_server() as server:
        made, store = planned(tmp_path, server.url)
        before = estimate_questions(made, store)
        words = ["describe", str(tmp_path / "hand.toml"), "--provider", "openai_compatible"]
        words += ["--base-url", server.url, "--model", "cheap", "--template", "terse"]
        words += ["--cache", str(store.root / "answers"), "-o", str(tmp_path / "d.json")]
        assert CliRunner().invoke(app, words).exit_code == 0
        after = estimate_questions(made, store)
    assert before.calls - after.calls == 3 * 2
    assert after.questions == before.questions


def test_a_study_that_asks_nobody_has_nothing_to_estimate(tmp_path):
    (tmp_path / "hand.toml").write_text('organs = ["scaphoid"]')
    text = STUDY.format(url="x").replace('"terse", "paper", ', "")
    (tmp_path / "live.toml").write_text(text)
    store = Store(tmp_path / "store")
    made = plan(Study.read(tmp_path / "live.toml"), store)
    assert estimate_questions(made, store) == QuestionEstimate()
    assert "questions" not in "\n".join(plan_lines(made, QuestionEstimate()))
