"""Removal of secrets, in any encoding, from the replies of a service."""

import base64
import binascii
import html
import json
import re
from collections.abc import Iterable
from typing import Any

REDACTED = "***"
# Shorter words are no secrets, and would blot out ordinary text.
_LEAST_LETTERS = 6
_SCHEMES = {"bearer", "digest", "apikey", "api-key"}  # first words of an Authorization header
_NAME_VALUE = re.compile(r"[^=]+=(.+?);?")


class Redactor:
    """Replaces every secret in a text by `***`.

    Each word of a secret counts, since a service may echo one alone, and so does the value of a
    cookie, and user and password of basic authentication. Letter case does not matter. Every
    character may be percent-encoded, escaped as in JSON or HTML, once or several times; base64 and
    hexadecimal forms count as well.

    Args:
        secrets: key, and values of secret headers and queries.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        words = {word for secret in secrets for word in _words(secret)}
        # The longest first: of two secrets one may begin with the other.
        patterns = [_pattern(word) for word in sorted(words, key=len, reverse=True)]
        self._pattern = re.compile("|".join(patterns), re.IGNORECASE) if patterns else None

    def text(self, text: str) -> str:
        """The text without secrets."""
        return self._pattern.sub(REDACTED, text) if self._pattern else text

    def body(self, body: bytes) -> bytes:
        """The body of a reply without secrets: every string of JSON, or else the text."""
        if self._pattern is None:
            return body
        try:
            # Decoded, since an escape may stand for any character of a string.
            value = json.loads(body)
            redacted = self._json(value)
            return body if redacted == value else json.dumps(redacted).encode()
        except (ValueError, RecursionError):
            return self.text(body.decode(errors="surrogateescape")).encode(errors="surrogateescape")

    def _json(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._json(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self._json(item) for key, item in value.items()}
        return value


def _words(secret: str) -> set[str]:
    """The parts of a secret that may be echoed alone."""
    words = set(secret.split())
    words |= {match[1] for word in words if (match := _NAME_VALUE.fullmatch(word))}
    if secret.lower().startswith("basic "):
        words |= set(_decoded(secret.split()[-1]).split(":", 1))
    return {w for w in words if len(w) >= _LEAST_LETTERS and w.lower() not in _SCHEMES}


def _decoded(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _pattern(word: str) -> str:
    """A regular expression for a word in all its encodings."""
    forms = {re.escape(form) for form in (*_base64_forms(word), word.encode().hex())}
    return "|".join(["".join(map(_character, word)), *sorted(forms, key=len, reverse=True)])


def _character(character: str) -> str:
    """A regular expression for a character as it stands, or encoded."""
    code = ord(character)
    forms = [
        rf"\\*{re.escape(character)}" if character in "\"'\\/" else re.escape(character),
        "".join(f"%(?:25)*{byte:02x}" for byte in character.encode()),
        rf"\\+(?:u00|x){code:02x}" if code < 256 else rf"\\+u{code:04x}",
        rf"&(?:amp;)*#(?:0*{code}|x0*{code:x});",
    ]
    if html.escape(character) != character:
        forms.append(html.escape(character))
    return f"(?:{'|'.join(forms)})"


def _base64_forms(word: str) -> set[str]:
    """The word in base64, alone or within a longer text: one form per offset."""
    forms = set()
    for offset, shared in enumerate((0, 2, 3)):
        data = bytes(offset) + word.encode()
        # Characters that hold bits of the neighbors too are left out.
        end = len(data) * 8 // 6
        form = base64.b64encode(data).decode()[shared:end]
        forms |= {form, form.replace("+", "-").replace("/", "_")}
    return forms
