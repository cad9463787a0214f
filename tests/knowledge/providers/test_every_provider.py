"""What every provider must do; a new module in `knowledge/providers` is tested at once.

`MAKE` names how a provider gets its service in a test: a provider without an entry is made with a
chat server's address and a model, which fits every service over HTTP.
"""

import json
from contextlib import contextmanager, suppress

import pytest

from knowledge.asking.describe import describe
from knowledge.providers.base.budget import Budget
from knowledge.providers.base.provider import Answer, Provider, ProviderOptions
from knowledge.questions.template import Template
from pipeline.config.registry import load_choice, names
from pipeline.datasets.organ_lists import read_organ_list
from pipeline.files import shipped
from tests.support.chat_server import chat_server

PROVIDERS = names("knowledge.providers")
TEMPLATE = Template.read(shipped.find("prompts", "paper"))
STORE = shipped.reference("data") / "answers" / f"{TEMPLATE.name}.json"
CLASSES = read_organ_list("phantom").classes  # those of the recorded answers


@contextmanager
def recorded():
    yield ProviderOptions(answers=STORE)


@contextmanager
def over_http():
    with chat_server() as server:
        yield ProviderOptions(model="tiny", base_url=server.url, retries=1, timeout_seconds=5.0)


MAKE = {"recorded": recorded}


@pytest.fixture(params=PROVIDERS)
def made(request, monkeypatch):
    """Class, options and an instance of a provider."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-contract-secret")
    kind = load_choice("knowledge.providers", request.param, Provider)
    with MAKE.get(request.param, over_http)() as options:
        yield kind, options, kind.from_options(options)


def test_the_name_is_the_modules(made):
    kind, _, provider = made
    assert load_choice("knowledge.providers", kind.name, Provider) is kind
    assert isinstance(provider, kind)


def test_a_description_of_every_class_comes_back_with_its_origin(made):
    kind, _, provider = made
    described = describe(TEMPLATE, CLASSES, provider).descriptions
    assert [item.organ for item in described.descriptions] == [
        name for name in CLASSES for _ in described.aspects
    ]
    for item in described.descriptions:
        (sample,) = item.samples
        assert sample.text
        assert sample.origin.provider == kind.name
        assert sample.origin.model


def test_the_identity_is_plain_equal_for_equal_options_and_without_secrets(made):
    kind, options, provider = made
    text = json.dumps(provider.identity, sort_keys=True)
    assert text == json.dumps(kind.from_options(options).identity, sort_keys=True)
    assert "sk-contract-secret" not in text
    assert "model" in provider.identity


def test_an_answer_counts_its_calls_against_the_budget(made, monkeypatch):
    kind, _, provider = made
    answers = []
    ask = kind.ask

    def listen(self, question, budget):
        assert isinstance(budget, Budget)
        answers.append(ask(self, question, budget))
        return answers[-1]

    monkeypatch.setattr(kind, "ask", listen)
    described = describe(TEMPLATE, CLASSES, provider).descriptions
    assert len(answers) == len(described.descriptions)
    for answer in answers:
        assert isinstance(answer, Answer)
        assert (answer.usage.calls > 0) == kind.costs
    assert (described.totals.calls > 0) == kind.costs


@pytest.mark.parametrize("name", PROVIDERS)
def test_options_that_are_missing_are_named(name, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    kind = load_choice("knowledge.providers", name, Provider)
    if not kind.costs:
        with suppress(ValueError, LookupError, OSError):  # a service that needs no option
            assert kind.from_options(ProviderOptions()).identity
            return
    with pytest.raises((ValueError, LookupError, OSError), match=r"--\w+|[A-Z]+_KEY"):
        kind.from_options(ProviderOptions())
