"""Left and right in the names of organs, and in sentences."""

import re
from collections.abc import Iterable

_SIDES = {"left": "right", "right": "left"}


def mirror(organ: str) -> str | None:
    """The name of the partner on the other side: `left` and `right` exchanged; None without."""
    words = organ.split()
    sides = [index for index, word in enumerate(words) if word.lower() in _SIDES]
    if len(sides) != 1 or len(words) == 1:
        return None
    words[sides[0]] = _SIDES[words[sides[0]].lower()]
    return " ".join(words)


def side(organ: str) -> str | None:
    """`left` or `right` when the name has one of these words."""
    return next((word for word in organ.lower().split() if word in _SIDES), None)


def stated_sides(text: str, organs: Iterable[str]) -> dict[str, set[str]]:
    """Of which organs a text says `left of` or `right of`, lists included.

    "Left of the pancreas and the aorta" speaks of both. Who lies there is not looked at.
    """
    names = "|".join(re.escape(name) for name in sorted(organs, key=len, reverse=True))
    one = rf"(?:the\s+|both\s+)*(?:{names})\b"
    phrase = rf"\b(left|right)\s+of\s+({one}(?:(?:,\s*|\s+and\s+|,\s*and\s+)(?:of\s+)?{one})*)"
    found: dict[str, set[str]] = {}
    for side_, listed in re.findall(phrase, text, flags=re.IGNORECASE) if names else ():
        for name in re.findall(rf"\b(?:{names})\b", listed, flags=re.IGNORECASE):
            found.setdefault(name.lower(), set()).add(side_.lower())
    return found
