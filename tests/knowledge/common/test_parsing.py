"""Texts of strangers: a message names the file, and is one short printable line."""

import pytest

from knowledge.common.files import parse_json, parse_toml


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 6000, "{", '"\x1b'])
def test_a_strange_json_is_refused_with_its_name(tmp_path, text):
    with pytest.raises(ValueError, match=r"^a\.json is not valid JSON") as fault:
        parse_json(text, "a.json")
    assert str(fault.value).isprintable()


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "1" * 6000, "a", "a = '\x1b'"])
def test_a_strange_toml_is_refused_with_its_name(tmp_path, text):
    with pytest.raises(ValueError, match=r"^a\.toml is not valid TOML") as fault:
        parse_toml(text, "a.toml")
    assert str(fault.value).isprintable()
