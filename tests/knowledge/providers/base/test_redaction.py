"""Secrets in every encoding; the encoders of the standard library are the measure."""

import base64
import html
import json
import string
from urllib.parse import quote, quote_plus

import pytest

from knowledge.providers.base.redaction import Redactor

KEY = "sk-Pr0j/+=_\"&<'\\%end"
ENCODINGS = {
    "as it is": lambda key: key,
    "upper case": str.upper,
    "percent": lambda key: quote(key, safe=""),
    "percent, but slashes": quote,
    "percent, twice": lambda key: quote(quote_plus(key)),
    "percent, all": lambda key: "".join(f"%{ord(letter):02X}" for letter in key),
    "JSON": lambda key: json.dumps(key)[1:-1],
    "JSON in JSON": lambda key: json.dumps(json.dumps(key)[1:-1])[1:-1],
    "JSON, all": lambda key: "".join(f"\\u{ord(letter):04x}" for letter in key),
    "JSON, slashes": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "repr": lambda key: repr(key)[1:-1],
    "HTML": html.escape,
    "HTML, all": lambda key: "".join(f"&#{ord(letter)};" for letter in key),
    "HTML, hexadecimal": lambda key: "".join(f"&#x{ord(letter):X};" for letter in key),
    "hexadecimal": lambda key: key.encode().hex(),
    "base64": lambda key: base64.b64encode(key.encode()).decode().rstrip("="),
    "base64, URL": lambda key: base64.urlsafe_b64encode(key.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_secret_is_replaced_in_every_encoding(name):
    encoded = ENCODINGS[name](KEY)
    assert Redactor([KEY]).text(f"The key {encoded} is wrong.").startswith("The key ***")
    assert Redactor([KEY]).text(f"The key {encoded} is wrong.").endswith(" is wrong.")
    assert encoded[2:-2] not in Redactor([KEY]).text(f"x{encoded}y")


@pytest.mark.parametrize("before", ["", "a", "ab", "user:", "Bearer "])
def test_a_secret_within_a_text_in_base64_is_replaced(before):
    encoded = base64.b64encode(f"{before}{KEY}!".encode()).decode()
    redacted = Redactor([KEY]).text(encoded)
    assert "***" in redacted
    assert len(redacted.replace("***", "")) <= len(encoded) - len(KEY)


@pytest.mark.parametrize(
    ("secret", "echo"),
    [
        ("Bearer sk-abcdef", "sk-abcdef"),
        ("session=abcdefgh; theme=dark", "abcdefgh"),
        ("Basic " + base64.b64encode(b"ct-team:hunter2").decode(), "hunter2"),
        ("  sk-abcdef\n", "SK-ABCDEF"),
    ],
)
def test_parts_of_a_secret_count(secret, echo):
    assert Redactor([secret]).text(f"<{echo}>") == "<***>"


def test_ordinary_text_stays_as_it_is():
    text = "The bearer of 11 keys has a short one: abc12. " + string.printable
    assert Redactor(["Bearer abc12", "", "1"]).text(text) == text


def test_strings_of_json_are_decoded_first():
    body = b'{"answer": "\\u0073k-Secret", "list": [{"\\u0053K-secret": null}], "n": 1.50}'
    assert json.loads(Redactor(["sk-secret"]).body(body)) == {
        "answer": "***", "list": [{"***": None}], "n": 1.5,
    }  # fmt: skip


@pytest.mark.parametrize("body", [b"<b>sk-secret</b>\xff", b'{"a":' * 5000 + b'"sk-secret"'])
def test_a_body_that_is_no_json_is_redacted_as_text(body):
    assert Redactor(["sk-secret"]).body(body) == body.replace(b"sk-secret", b"***")


def test_the_longer_of_two_secrets_is_replaced_whole():
    assert Redactor(["sk-secret", "sk-secret-two"]).text("sk-secret-two") == "***"
