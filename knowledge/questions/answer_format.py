"""Format of answers: schema, instructions, and validation of raw answers."""

import json
import unicodedata
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, field_validator

from knowledge.common.models import Strict, problems
from knowledge.descriptions import BACKGROUND, RELATIONS, Claim, Relation
from knowledge.providers.base.find_json import (
    MOST_CHARACTERS,
    InvalidAnswer,
    find_json,
    shortened,
)
from knowledge.providers.base.thoughts import unknown_mark, without_thoughts

# Without a limit, small models under a schema list items without end.
MOST_ITEMS = 12
# Organs that a question names. A longer list would be sent with every question: of 1,000 organs,
# 5 samples each, 94 million tokens.
MOST_LISTED = 120
NEAREST = 40  # of a longer list, the organs that stand around the one asked about
# Bidirectional controls, with which displayed text differs from stored text.
_BIDIRECTIONAL = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class AnsweredClaim(Strict):
    """The organ asked about stands in `relation` to `other`."""

    relation: Relation
    other: str


class Reading(Strict):
    """A valid answer. Validate with context `{"organ": ..., "organs": [...], "absent": [...]}`."""

    organ: str
    text: str = Field(min_length=10)
    claims: tuple[AnsweredClaim, ...]
    attributes: tuple[str, ...]
    _left_out: int = PrivateAttr(default=0)

    @property
    def left_out(self) -> int:
        """The number of claims about organs that were not asked about; they are not in `claims`."""
        return self._left_out

    @field_validator("text")
    @classmethod
    def _one_paragraph(cls, text: str) -> str:
        if mark := unknown_mark(text):
            raise ValueError(f"must be the answer alone, in sentences, without {mark!r}")
        return _one_line(text)

    @field_validator("attributes")
    @classmethod
    def _short_words(cls, attributes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_one_line(attribute) for attribute in attributes)

    @field_validator("organ")
    @classmethod
    def _organ_asked_about(cls, organ: str, info: ValidationInfo) -> str:
        asked = str((info.context or {})["organ"])
        if organ.strip().lower() != asked.lower():
            raise ValueError(f"must be {asked!r}, the organ asked about, not {shortened(organ)!r}")
        return asked

    @field_validator("claims")
    @classmethod
    def _about_listed_organs(
        cls, claims: tuple[AnsweredClaim, ...], info: ValidationInfo
    ) -> tuple[AnsweredClaim, ...]:
        context = info.context or {}
        others = other_organs(context["organ"], context["organs"])
        if len(others) > MOST_LISTED:  # the model did not see all names: another is no mistake
            return tuple(claim for claim in claims if claim.other in others)
        absent = context.get("absent", ())
        claims = tuple(
            claim for claim in claims if claim.other in others or claim.other not in absent
        )
        for claim in claims:
            if claim.other not in others:
                known = ", ".join(others) or "none"
                raise ValueError(
                    f"{shortened(claim.other)!r} is not one of the other organs: {known}"
                )
        return claims

    def about(self) -> tuple[Claim, ...]:
        """The distinct claims, with their organ."""
        stated = (
            Claim(organ=self.organ, relation=claim.relation, other=claim.other)
            for claim in self.claims
        )
        return tuple(dict.fromkeys(stated))


def read_answer(
    text: str,
    output: str,
    organ: str,
    organs: tuple[str, ...],
    *,
    vocabulary: Collection[str] = (),
) -> Reading:
    """The validated content of a raw answer in the form `output`.

    Thoughts of a reasoning model are removed first (`without_thoughts`).

    Args:
        vocabulary: organs that the answer may name besides those asked about; claims about them
            are left out and counted.

    Raises:
        InvalidAnswer: no JSON in it, a key missing or of the wrong type, an organ that is not in
            the list, another organ than the one asked about, control characters; in plain output,
            an answer that does not even name the organ.
    """
    if len(text) > MOST_CHARACTERS:
        raise InvalidAnswer(f"the answer is longer than {MOST_CHARACTERS} characters")
    answer = without_thoughts(text)
    if text.strip() and not answer.strip():
        raise InvalidAnswer(f"the answer holds thoughts and nothing else: {shortened(text)!r}")
    try:
        if output == "plain":
            return _read_prose(answer, organ)
        content = find_json(answer)
        context = {"organ": organ, "organs": list(organs), "absent": vocabulary}
        reading = Reading.model_validate(content, context=context)
        reading._left_out = len(content["claims"]) - len(reading.claims)
        return reading
    except ValidationError as error:
        # Without suggestions, since a model would take them for the answer.
        reason = problems(error, suggest=False)
        complaint = f"the answer does not have the form asked for: {reason}"
        raise InvalidAnswer(complaint) from error


@lru_cache(maxsize=4096)  # of long lists, every question would filter all names again
def _others(organ: str, organs: tuple[str, ...]) -> tuple[str, ...]:
    if organ == BACKGROUND:
        return ()
    return tuple(name for name in organs if name not in (organ, BACKGROUND))


def other_organs(organ: str, organs: tuple[str, ...] | list[str]) -> list[str]:
    """The organs that a claim about `organ` may refer to."""
    return list(_others(organ, tuple(organs)))


def named_organs(organ: str, organs: tuple[str, ...]) -> list[str]:
    """The other organs that a question names: all, or of a long list those around the organ.

    Long lists follow the body (vertebrae, ribs, lobes), so neighbors in the list are mostly
    neighbors in the body.
    """
    others = other_organs(organ, organs)
    if len(others) <= MOST_LISTED:
        return others
    place = [name for name in organs if name != BACKGROUND].index(organ)
    start = min(max(place - NEAREST // 2, 0), len(others) - NEAREST)
    return others[start : start + NEAREST]


def answer_schema(organ: str, organs: tuple[str, ...]) -> dict[str, Any]:
    """The JSON schema of an answer, in the subset that strict structured output accepts."""
    others = other_organs(organ, organs)
    listed = 0 < len(others) <= MOST_LISTED
    claim = {
        "type": "object",
        "properties": {
            "relation": {"type": "string", "enum": list(RELATIONS)},
            "other": {"type": "string", "enum": others} if listed else {"type": "string"},
        },
        "required": ["relation", "other"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "organ": {"type": "string", "enum": [organ]},
            "text": {"type": "string"},
            "claims": {"type": "array", "items": claim, "maxItems": MOST_ITEMS if others else 0},
            "attributes": {"type": "array", "items": {"type": "string"}, "maxItems": MOST_ITEMS},
        },
        "required": ["organ", "text", "claims", "attributes"],
        "additionalProperties": False,
    }


def format_hint(organ: str, organs: tuple[str, ...]) -> str:
    """Instructions for an answer in JSON, to append to the question."""
    others, named = other_organs(organ, organs), named_organs(organ, organs)
    names = ", ".join(named)
    which = (
        f"another organ of this list ({names})"
        if len(named) == len(others)
        else f"one of {len(others)} other organs, named in the manner of {names}"
    )
    claims = (
        f"every relation that your text states between the {organ} and {which}, each as "
        f'{{"relation": R, "other": O}}, which reads "{organ} '
        f"R O\", with the other organ's name as listed and a relation out of {', '.join(RELATIONS)}"
        if others
        else "an empty list"
    )
    return (
        "Answer with one JSON object and nothing else. Its keys are "
        f'"organ": {json.dumps(organ, ensure_ascii=False)}; '
        '"text": your answer in complete sentences, one paragraph; '
        f'"claims": {claims}; '
        '"attributes": short words for the shape that your text states, or an empty list. '
        "Left and right are the patient's."
    )


def _read_prose(text: str, organ: str) -> Reading:
    if organ.lower() not in " ".join(text.split()).lower():
        raise InvalidAnswer(f"the answer {shortened(text)!r} does not name the {organ}")
    return Reading.model_validate(
        {"organ": organ, "text": text, "claims": (), "attributes": ()},
        context={"organ": organ, "organs": []},
    )


def _one_line(text: str) -> str:
    """The text with single spaces between words.

    Raises:
        ValueError: control characters or bidirectional controls.
    """
    line = " ".join(text.split())
    for letter in line:
        if letter in _BIDIRECTIONAL or unicodedata.category(letter) == "Cc":
            raise ValueError(f"must not hold the control character U+{ord(letter):04X}")
    return line
