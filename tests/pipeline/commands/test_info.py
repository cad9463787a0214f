"""`tak info`: a list for people, JSON for programs, an answer to a typo."""

import json


def test_everything_is_listed_as_json_with_the_commands(tak):
    code, out, _ = tak("info", "--json")
    content = json.loads(out)
    assert code == 0
    assert {"train", "info", "study"} <= set(content["commands"])


def test_an_encoder_is_shown_with_its_specs(tak):
    code, out, _ = tak("info", "hashing")
    assert (code, "hashing:" in out) == (0, True)


def test_a_method_is_shown_with_options_types_and_defaults(tak):
    code, out, _ = tak("info", "magicnet")
    assert code == 0
    assert "decay" in out
    assert "default" in out


def test_an_unknown_name_is_answered_with_the_one_that_it_resembles(tak):
    code, _, err = tak("info", "magicnte")
    assert (code, "did you mean magicnet" in err) == (1, True)
