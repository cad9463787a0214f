"""The JSON object in a model's answer."""

import json
import re
from collections.abc import Iterator
from typing import Any

# A string, or a comma before a closing bracket outside of strings.
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(\s*[}\]])', re.DOTALL)
# Servers that build a grammar from a schema let line breaks stand inside strings.
_DECODER = json.JSONDecoder(strict=False)


class InvalidAnswer(ValueError):
    """The answer cannot be used; the message says why, in words fit to show to the model."""


def find_json(text: str) -> dict[str, Any]:
    """The JSON object of a text, wherever it stands (prose around it, a code fence).

    Of several, the last with a key `text`, since drafts come first; without one, the first. An
    object inside another that is cut off does not count. Commas before a closing bracket, which
    JSON forbids and models write, are left out where there is no object otherwise.

    Raises:
        InvalidAnswer: there is none.
    """
    objects = list(_objects(text))
    if not any("text" in value for value in objects):
        text = _TRAILING_COMMA.sub(lambda match: match[1] or match[2], text)
        objects = list(_objects(text))
    for value in reversed(objects):
        if "text" in value:
            return value
    if text.lstrip().startswith("{") and not _starts_whole(text):
        raise InvalidAnswer(f"the answer is cut-off JSON: {_short(text)!r}")
    if not objects:
        raise InvalidAnswer(f"no JSON object in the answer {_short(text)!r}")
    return objects[0]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    start = text.find("{")
    while start >= 0:
        try:
            value, end = _DECODER.raw_decode(text, start)
        # JSON that is no JSON, numbers of thousands of digits, brackets nested without end.
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield value
        start = text.find("{", end)


def _starts_whole(text: str) -> bool:
    try:
        _DECODER.raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return False
    return True


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}..."
