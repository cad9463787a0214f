"""Left and right in the names of organs, and in sentences."""

import re
from collections.abc import Iterable
from itertools import pairwise

from knowledge.descriptions import Claim

_SIDES = {"left": "right", "right": "left"}
_PREPOSITIONS = (
    r"about|above|across|against|along|among|around|at|behind|below|beneath|besides?|between|"
    r"beyond|by|from|in|inside|into|near|next|on|onto|over|past|through|to|towards?|under|"
    r"underneath|with|within|without"
)
# An organ before one of these is the subject of what follows, not the end of a list.
_VERBS = "lies?|is|are|has|have|sits?|stands?|runs?|rests?|hangs?|reaches|extends?|begins?|ends?"
_RELATIVE = ("which", "that", "whose", "where", "who")
_BREAKS = (",", ";", ":", "and", "but", "while", "whereas", *_RELATIVE)
_ITSELF = ("_organ", "it", "they")
_NOUNS = (*_ITSELF, "_other", "its", "their")


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


def exchanged_sides(
    organ: str, text: str, claims: Iterable[Claim], organs: Iterable[str]
) -> list[str]:
    """Contradictions between the sentences about an organ, which are encoded, and its claims."""
    stated = stated_sides(text, organ, organs)
    claimed: dict[str, set[str]] = {}
    for claim in claims:
        if claim.relation in ("left_of", "right_of"):
            claimed.setdefault(claim.other, set()).add(claim.relation.removesuffix("_of"))
    return [
        f"the text says {' and '.join(sorted(text_sides))} of the {other}, a claim "
        f"{' and '.join(sorted(sides))}_of"
        for other, sides in claimed.items()
        if (text_sides := stated.get(other.lower(), set())) and not text_sides & sides
    ]


def stated_sides(text: str, organ: str, organs: Iterable[str]) -> dict[str, set[str]]:
    """The sides, left or right, on which a text places `organ` relative to other organs.

    Lists count: "left of the pancreas and the aorta" concerns both. Statements about another organ
    or a part do not; a sentence without a subject is about the organ. English only.
    """
    names = "|".join(re.escape(name) for name in sorted({organ, *organs}, key=len, reverse=True))
    one = rf"(?:the\s+|both\s+)*(?:{names})\b(?!\s+(?:{_VERBS})\b)"
    phrase = rf"\b(left|right)\s+of\s+({one}(?:(?:,\s*|\s+and\s+|,\s*and\s+)(?:of\s+)?{one})*)"
    sides: dict[str, set[str]] = {}
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        before, end = "", 0
        for match in re.finditer(phrase, sentence, flags=re.IGNORECASE):
            before, end = before + sentence[end : match.start()], match.end()
            if not _is_about(organ, before, names):
                continue
            for name in re.findall(rf"\b(?:{names})\b", match[2], flags=re.IGNORECASE):
                sides.setdefault(name.lower(), set()).add(match[1].lower())
    return sides


def _is_about(organ: str, before: str, names: str) -> bool:
    """Whether the organ is the subject where a sentence has got to.

    The subject of a clause is its first noun that no preposition holds, or that a verb follows; a
    clause without one has the subject of the clause before.
    """

    def mark(match: re.Match[str]) -> str:
        whole = match[1].lower() == organ.lower() and not match[2]
        return "_organ" if whole else "_other"

    marked = re.sub(rf"\b({names})\b(['’]s?)?", mark, before, flags=re.IGNORECASE).lower()
    marked = re.sub(r",\s*(?:which|whose|where|who)\b[^,]*,", ",", marked)
    words = re.findall(r"\w+|[,;:]", marked)
    about, awaited, aside, part = True, True, False, False
    for word, following in pairwise([*words, ""]):
        if word in _BREAKS:
            about = about and word not in _RELATIVE
            awaited, part = awaited or word != ",", part and word == ","
            aside = aside and word == "and"
        elif re.fullmatch(_PREPOSITIONS, word):
            aside = True
        elif awaited and word in _NOUNS and (not aside or re.fullmatch(_VERBS, following)):
            about, awaited = word in _ITSELF and not part, False
        part = part or word == "of"
    return about
