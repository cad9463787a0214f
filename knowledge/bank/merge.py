"""Merge two banks of the same encoder, or compare them."""

from dataclasses import dataclass

import numpy as np

from knowledge.bank.bank import Bank
from knowledge.encoders.base.encoder import same_fingerprint


@dataclass(frozen=True)
class VectorDifference:
    """One class and aspect that both banks have: how alike the vectors are, and the texts."""

    organ: str
    aspect: str
    cosine: float
    same_text: bool


def require_same_encoder(one: Bank, other: Bank) -> None:
    """Refuse banks of different encoders.

    Raises:
        ValueError: their fingerprints differ, or one has none.
    """
    if not len(one.fingerprint) or not len(other.fingerprint):
        raise ValueError(
            f"a bank without a fingerprint cannot be compared: encoders {one.encoder} and "
            f"{other.encoder} may differ"
        )
    if not same_fingerprint(one.fingerprint, other.fingerprint):
        raise ValueError(
            f"the banks come from different encoders ({one.encoder}, {other.encoder}): their "
            "fingerprints differ, so their vectors cannot be put side by side"
        )


def difference(one: Bank, other: Bank) -> tuple[VectorDifference, ...]:
    """Every class and aspect that both banks have, in the order of the first.

    Raises:
        ValueError: the encoders differ, or nothing is in both.
    """
    require_same_encoder(one, other)
    differences = tuple(
        VectorDifference(
            organ=organ,
            aspect=aspect,
            cosine=_cosine(one.select((organ,), (aspect,)), other.select((organ,), (aspect,))),
            same_text=_text(one, organ, aspect) == _text(other, organ, aspect),
        )
        for organ in one.classes
        for aspect in one.aspects
        if organ in other.classes and aspect in other.aspects
    )
    if not differences:
        raise ValueError("the banks have no class and aspect in common")
    return differences


def merge(one: Bank, other: Bank, *, replace: bool = False) -> Bank:
    """One bank with the classes and aspects of both.

    Where both have a class and aspect, the vectors must be equal, or `replace` takes the second.

    Raises:
        ValueError: the encoders differ, the banks disagree, or a class would lack an aspect.
    """
    require_same_encoder(one, other)
    classes = tuple(dict.fromkeys(one.classes + other.classes))
    aspects = tuple(dict.fromkeys(one.aspects + other.aspects))
    shape = (len(classes), len(aspects))
    vectors = np.zeros((*shape, one.width), np.float32)
    counts = np.zeros(shape, np.int32)
    texts = [[""] * shape[1] for _ in classes]
    for row, organ in enumerate(classes):
        for column, aspect in enumerate(aspects):
            source = _source(one, other, organ, aspect, replace)
            vectors[row, column] = source.select((organ,), (aspect,))[0, 0]
            counts[row, column] = source.token_counts[
                source.classes.index(organ), source.aspects.index(aspect)
            ]
            texts[row][column] = _text(source, organ, aspect)
    return Bank(
        classes=classes,
        aspects=aspects,
        vectors=vectors,
        texts=tuple(tuple(row) for row in texts),
        token_counts=counts,
        encoder=one.encoder,
        fingerprint=one.fingerprint,
        token_limit=one.token_limit,
        long_text=one.long_text if one.long_text == other.long_text else "mixed",
        description_digest="",
        origin={"kind": "merged", "parts": [_part(one), _part(other)]},
    )


def _source(one: Bank, other: Bank, organ: str, aspect: str, replace: bool) -> Bank:
    """The bank that a class and aspect of the merged bank is taken from."""
    in_one = organ in one.classes and aspect in one.aspects
    in_other = organ in other.classes and aspect in other.aspects
    if not in_one and not in_other:
        raise ValueError(f"neither bank has {organ!r} with aspect {aspect!r}")
    if in_one and in_other and not replace:
        first, second = one.select((organ,), (aspect,)), other.select((organ,), (aspect,))
        if not np.array_equal(first, second):
            raise ValueError(
                f"the banks disagree on {organ!r}, aspect {aspect!r}; say which is to win "
                "(--replace takes the second)"
            )
    return other if in_other and (replace or not in_one) else one


def _part(bank: Bank) -> dict[str, object]:
    return {
        "digest": bank.digest,
        "description_digest": bank.description_digest,
        "origin": bank.origin,
    }


def _text(bank: Bank, organ: str, aspect: str) -> str:
    return bank.texts[bank.classes.index(organ)][bank.aspects.index(aspect)]


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    first, second = one.ravel().astype(float), other.ravel().astype(float)
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norms if norms else 0.0
