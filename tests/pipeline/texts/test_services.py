"""Services of the command line: headers without secrets in messages, prices, providers."""

import pytest

from knowledge.descriptions import DescriptionSet
from knowledge.providers.base.provider import ProviderOptions
from knowledge.providers.base.usage import Usage
from knowledge.questions.template import Template, Wording
from pipeline.texts.services import headers, make_provider, pairs, quote_of, service
from tests.support.command_line import tak
from tests.support.paths import ROOT

PRICES = 'date = "2026-01"\n[models."toy"]\ninput_usd = 2.0\noutput_usd = 8.0\n'


def test_headers_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("TOY_KEY", "sk-1\n")
    assert headers(["api-key=env:TOY_KEY", "x=y=z"]) == {"api-key": "sk-1", "x": "y=z"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sk-secret", "--header: write name=value"),
        ("=sk-secret", "--header: write name=value"),
        ("key=env:NO_SUCH_VARIABLE", "header key: the environment has no NO_SUCH_VARIABLE"),
        ("key=sk-sec\x01ret", "header key: contains characters that are invalid"),
    ],
)
def test_a_wrong_header_is_refused_without_its_value(text, message):
    with pytest.raises(ValueError, match=message) as fault:
        headers([text])
    assert "sk-sec" not in str(fault.value)


def test_other_pairs_are_quoted_in_the_message():
    with pytest.raises(ValueError, match="--query version: write name=value"):
        pairs("--query", ["version"])


def test_an_unknown_output_is_answered_with_the_known_ones():
    with pytest.raises(LookupError, match=r"no output 'jsn_schema'; .*did you mean json_schema"):
        service("toy", None, "KEY", None, None, output="jsn_schema")


def test_a_price_is_per_million_tokens_and_names_its_table(tmp_path):
    (tmp_path / "own.toml").write_text(PRICES)
    quote = quote_of("toy", tmp_path / "own.toml")
    assert quote.of(Usage(calls=1, input_tokens=500_000, output_tokens=250_000)) == "$3.0000"
    assert "own.toml" in str(quote)
    unlisted = quote_of("other", tmp_path / "own.toml")
    assert unlisted.of(Usage(calls=1)) == "cost unknown"
    assert "does not list 'other'" in str(unlisted)


def test_a_template_without_recorded_answers_is_named(tmp_path):
    template = Template("mine", Wording(title="t", aspects={"place": "?"}))
    with pytest.raises(LookupError, match="no recorded answers for template 'mine'; there is"):
        make_provider("recorded", template, ProviderOptions(), None, tmp_path)


def test_the_recorded_answers_of_a_model_are_replayed_by_its_name(tmp_path):
    name, out = "qwen2.5-coder-1.5b-instruct", tmp_path / "d.json"
    told = tak("describe", "amos", "--template", "terse", "--model", name, "-o", out)
    assert "32 answers" in told.stdout
    texts = {item.text for item in DescriptionSet.read(out).descriptions}
    kidney = "The right kidney is an organ that filters waste from the blood and produces urine."
    assert kidney in texts


@pytest.mark.parametrize("model", ["qwen2.5-coder-1.5b", "../answers"])
def test_a_model_without_recorded_answers_is_answered_with_the_known_ones(model, tmp_path):
    template = Template.read(ROOT / "prompts" / "terse.toml")
    with pytest.raises(
        LookupError, match=r"no recorded answers of .*qwen2\.5-coder-1\.5b-instruct"
    ):
        make_provider("recorded", template, ProviderOptions(model=model), None, tmp_path)
