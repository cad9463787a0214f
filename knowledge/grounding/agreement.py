"""Agreement of several answers to one question, in claims and in words."""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import combinations

from knowledge.descriptions import Description, DescriptionSet, Sample


@dataclass(frozen=True)
class Agreement:
    """Mean over pairs of samples and over questions, from 0 to 1; None if undefined.

    Attributes:
        claims: Jaccard index of the sets of claims; pairs without any claim are left out.
        words: shared words by count, over the mean length (Dice coefficient of word bags).
    """

    claims: float | None
    words: float | None


def agreement(descriptions: DescriptionSet) -> Agreement:
    """The agreement between the samples of a set; None for sets of one sample."""
    claims, words = [], []
    for item in descriptions.descriptions:
        for one, other in _pairs(item):
            words.append(_word_overlap(one.text, other.text))
            union = set(one.claims) | set(other.claims)
            if union:
                claims.append(len(set(one.claims) & set(other.claims)) / len(union))
    return Agreement(claims=_mean(claims), words=_mean(words))


def _pairs(item: Description) -> list[tuple[Sample, Sample]]:
    return list(combinations(item.samples, 2))


def _word_overlap(one: str, other: str) -> float:
    first, second = (Counter(re.findall(r"\w+", text.lower())) for text in (one, other))
    length = first.total() + second.total()
    return 2 * (first & second).total() / length if length else 1.0


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
