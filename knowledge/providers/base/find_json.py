"""The JSON object in a model's answer."""

import json
import re
from collections.abc import Iterator
from typing import Any

_TRAILING_COMMA = re.compile(r",\s*[}\]]")
# Far more than any answer needs, a long chain of thought included; more would take long to search.
MOST_CHARACTERS = 100_000
MOST_COMMAS = 100  # that are mended in one text, since each takes another attempt
# Servers that build a grammar from a schema let line breaks stand inside strings.
_DECODER = json.JSONDecoder(strict=False)


class InvalidAnswer(ValueError):
    """The answer cannot be used; the message says why, in words fit to show to the model."""


def find_json(text: str) -> dict[str, Any]:
    """The JSON object of a text, wherever it stands (prose around it, a code fence).

    Of several, the last with a key `text`, since drafts come first; without one, the first. An
    object inside another that is cut off does not count. Commas before a closing bracket, which
    JSON forbids and models write, are left out.

    Raises:
        InvalidAnswer: there is none, or the text is too long.
    """
    if len(text) > MOST_CHARACTERS:
        raise InvalidAnswer(f"the answer is longer than {MOST_CHARACTERS} characters")
    objects = dict(_objects(text))
    for value in reversed(objects.values()):
        if "text" in value:
            return value
    if text.lstrip().startswith("{") and text.index("{") not in objects:
        raise InvalidAnswer(f"the answer is cut-off JSON: {shortened(text)!r}")
    if not objects:
        raise InvalidAnswer(f"no JSON object in the answer {shortened(text)!r}")
    return next(iter(objects.values()))


def _objects(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects that stand in no other, by where they begin."""
    start, commas = text.find("{"), 0
    while start >= 0:
        try:
            value, end = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            comma = text.rfind(",", start, error.pos + 1)
            if commas < MOST_COMMAS and comma >= 0 and _TRAILING_COMMA.match(text, comma):
                # A space in its place keeps all positions; the same object is read again.
                text, commas = f"{text[:comma]} {text[comma + 1 :]}", commas + 1
                continue
            end = start + 1
        # Numbers of thousands of digits, brackets nested without end.
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield start, value
        start = text.find("{", end)


def shortened(text: str) -> str:
    """The text, or its beginning, for a message."""
    return text if len(text) <= 120 else f"{text[:117]}..."
