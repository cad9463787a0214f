"""Texts that a model shortens until the encoder can read them."""

import json
from pathlib import Path

import pytest

from knowledge.asking.assembly import literal
from knowledge.asking.shortening import Shortener
from knowledge.asking.valid_answers import UnusableAnswers
from knowledge.bank.encoding import encode
from knowledge.encoders.hashing import Hashing
from knowledge.providers.base.answer_store import AnswerCache
from knowledge.providers.base.provider import ProviderOptions
from knowledge.providers.openai_compatible import OpenAICompatible
from knowledge.questions.template import Template, Wording
from tests.support.chat_server import Body, Reply, asked_organ, chat_server, is_probe, user_text

WORDS = {"place": "The {organ} lies here and there and everywhere else too.", "form": "A {organ}."}
SET = literal(Template("t", Wording(title="t", aspects=WORDS)), ("background", "hub"))
ENCODER = Hashing(16, token_limit=6)


def answer(body: Body) -> Reply:
    """Too long at first, short enough when told so."""
    if is_probe(body):
        return Reply('{"ready": true}')
    told = len(body["messages"]) > 1
    text = f"The {asked_organ(body)} " + (
        "lies here." if told else "lies here and there and so on."
    )
    raw = {"organ": asked_organ(body), "text": text, "claims": [], "attributes": []}
    return Reply(json.dumps(raw))


def provider(url: str) -> OpenAICompatible:
    return OpenAICompatible(ProviderOptions(model="tiny", base_url=url), "key")


def test_only_long_texts_are_shortened_and_the_bank_says_so(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    with chat_server(answer) as server:
        for _ in range(2):
            shorten = Shortener(provider(server.url), ENCODER, cache=cache)
            bank = encode(SET, ENCODER, long_text="shorten", shorten=shorten)
        assert len(server.questions) == 4  # two texts, each asked for twice; then cached
    assert "still has 9 tokens and may have 6" in user_text(server.questions[1])
    assert bank.texts[1] == ("The hub lies here.", "A hub.")
    assert bank.token_counts.tolist() == [[4, 2], [4, 2]]
    assert bank.long_text == "shorten"
    assert bank.origin["shortened"] == ["background, place", "hub, place"]
    assert bank.origin["shortened_by"]["model"] == "tiny"


def test_a_model_that_stays_wordy_ends_after_the_attempts() -> None:
    def wordy(body: Body) -> Reply:
        return answer({**body, "messages": body["messages"][:1]})

    with chat_server(wordy) as server:
        shorten = Shortener(provider(server.url), ENCODER, attempts=2)
        with pytest.raises(UnusableAnswers, match=r"background, place: 2 attempts.*6 tokens"):
            encode(SET, ENCODER, long_text="shorten", shorten=shorten)


def test_shortening_needs_a_model() -> None:
    with pytest.raises(ValueError, match="needs a model"):
        encode(SET, ENCODER, long_text="shorten")
