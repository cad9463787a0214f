"""What every text encoder must do; a new module in `knowledge/encoders` is tested at once.

An encoder's class attribute `example` is the spec that is tested here. If it has `{folder}` in it,
`tests/support/small_encoders.py` needs a function named like the encoder that fills the folder.
"""

import numpy as np
import pytest

from knowledge.encoders.base.encoder import FINGERPRINT_SENTENCES, TextEncoder, same_fingerprint
from pipeline.commands.shared import options
from pipeline.config.registry import load_choice, names, shipped_names
from pipeline.texts.encoders import forms, make_encoder
from tests.support import small_encoders

ENCODERS = names("knowledge.encoders")
TEXTS = ["The spleen is on the left.", "A tube.", "C-shaped and hollow"]


@pytest.fixture(scope="module", params=ENCODERS)
def spec(request, tmp_path_factory):
    """The example of an encoder, with its weights in place."""
    kind = load_choice("knowledge.encoders", request.param, TextEncoder)
    if "{folder}" not in kind.example:
        return kind.example
    fill = getattr(small_encoders, request.param, None)
    assert fill, f"write {request.param}(folder) in tests/support/small_encoders.py"
    folder = tmp_path_factory.mktemp(request.param)
    fill(folder)
    return kind.example.format(folder=folder)


@pytest.fixture(scope="module")
def encoder(spec):
    return make_encoder(spec)


def test_the_spec_leads_back_to_the_same_encoder(spec, encoder):
    assert spec.startswith(f"{encoder.name}:")
    assert encoder.spec == spec
    again = make_encoder(spec)
    assert same_fingerprint(again.fingerprint(), encoder.fingerprint())
    assert again.weights_digest() == encoder.weights_digest()


def test_vectors_are_finite_float32_one_row_per_text(encoder):
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.ndim == 2
    assert len(vectors) == len(TEXTS)
    assert np.isfinite(vectors).all()
    assert encoder.encode([]).shape == (0, vectors.shape[1])


def test_a_vector_depends_on_its_text_alone(encoder):
    vectors = encoder.encode(TEXTS)
    np.testing.assert_array_equal(vectors, encoder.encode(TEXTS))
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], vector, atol=1e-5)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)


def test_the_fingerprint_is_of_the_fixed_sentences(encoder):
    fingerprint = encoder.fingerprint()
    expected = encoder.encode(list(FINGERPRINT_SENTENCES))
    np.testing.assert_array_equal(fingerprint, expected)
    assert not same_fingerprint(fingerprint, -fingerprint)


def test_tokens_are_counted_before_truncation_at_the_limit(encoder):
    short, long = encoder.count_tokens("word"), encoder.count_tokens("word " * 600)
    assert 1 <= short < long
    assert long >= 600
    if encoder.token_limit is not None:
        assert short < encoder.token_limit < long
        beyond = encoder.encode(["word " * 600, "word " * 700])
        np.testing.assert_allclose(beyond[0], beyond[1], atol=1e-5)


def test_the_weights_digest_is_a_sha256_or_empty(encoder):
    digest = encoder.weights_digest()
    assert digest == "" or (len(digest) == 64 and int(digest, 16) >= 0)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_malformed_argument_is_one_line_that_quotes_it(name, monkeypatch):
    from knowledge.encoders.base import hub

    monkeypatch.setattr(hub, "answers", lambda: pytest.fail("asked the hub"))
    malformed = f"{name}:no such/model/anywhere"
    with pytest.raises((ValueError, LookupError, OSError)) as caught:
        make_encoder(malformed)
    assert "no such/model" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ENCODERS)
def test_help_lists_every_form(name):
    kind = load_choice("knowledge.encoders", name, TextEncoder)
    assert kind.name == name
    assert all(form.startswith(f"{name}:") for form in (*kind.forms, *kind.hub_forms))
    assert set(kind.forms) | set(kind.hub_forms) <= set(forms())
    if name not in shipped_names("knowledge.encoders"):
        return  # a plugin: help texts do not search for plugins
    (typer_option,) = options.Encoder.__metadata__
    assert all(form in typer_option.help for form in kind.forms)


def test_an_unknown_encoder_is_answered_with_those_there_are():
    with pytest.raises(LookupError, match=f"no encoder 'openclap'; there is {', '.join(ENCODERS)}"):
        make_encoder("openclap:x")
