"""Encode descriptions into a bank; texts beyond the token limit by a stated rule."""

import re
from typing import Any, Protocol

import numpy as np

from knowledge.bank.bank import Bank
from knowledge.bank.origin import marks
from knowledge.common.digests import canonical_json
from knowledge.common.suggest import unknown
from knowledge.descriptions import Description, DescriptionSet
from knowledge.encoders.base.encoder import TextEncoder, Vectors

LONG_TEXT = ("error", "split-mean", "truncate", "shorten")


class Shortener(Protocol):
    """Shortens the text of a description; `identity` is recorded in the origin of the bank."""

    @property
    def identity(self) -> dict[str, Any]:
        """Service, model and parameters; no secrets."""

    def __call__(self, description: Description, limit: int) -> str:
        """A text of at most `limit` tokens."""


def encode(
    descriptions: DescriptionSet,
    encoder: TextEncoder,
    *,
    long_text: str = "error",
    shorten: Shortener | None = None,
) -> Bank:
    """The bank of a description set, vectors [C, A, E].

    A text with more tokens than the encoder reads is refused (`error`), encoded by sentences
    whose vectors are averaged (`split-mean`), cut (`truncate`), or replaced by a shorter one
    (`shorten`, which needs the function of that name). The bank records the rule.

    Raises:
        LookupError: no such rule.
        ValueError: a text is too long, or still is after the rule.
    """
    if long_text not in LONG_TEXT:
        raise LookupError(unknown("rule for long texts", long_text, tuple(LONG_TEXT)))
    items = descriptions.descriptions
    texts = [item.text for item in items]
    if long_text == "shorten":
        texts = [_shortened(item, encoder, shorten) for item in items]
    counts = [encoder.count_tokens(text) for text in texts]
    if long_text in ("error", "shorten"):
        _refuse_long(items, counts, encoder)
    names = [f"{item.organ}, {item.aspect}" for item in items]
    vectors = vectors_of(names, texts, counts, encoder, long_text)
    shape = (len(descriptions.classes), len(descriptions.aspects))
    rows = [texts[start : start + shape[1]] for start in range(0, len(texts), shape[1])]
    return Bank(
        classes=descriptions.classes,
        aspects=descriptions.aspects,
        vectors=vectors.reshape(*shape, -1),
        texts=tuple(tuple(row) for row in rows),
        token_counts=np.asarray(counts, np.int32).reshape(shape),
        encoder=encoder.spec,
        fingerprint=encoder.fingerprint(),
        token_limit=encoder.token_limit,
        long_text=long_text,
        description_digest=descriptions.digest,
        origin=_origin(descriptions, encoder) | _shortening(items, texts, shorten),
    )


def sentences(text: str) -> list[str]:
    """The sentences of a text: cut after `.`, `!` or `?` that a capital letter follows."""
    return [part for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])", text.strip()) if part]


def too_long(count: int, encoder: TextEncoder) -> bool:
    """Whether a text of so many tokens exceeds the encoder's limit."""
    return encoder.token_limit is not None and count > encoder.token_limit


def _refuse_long(items: tuple[Description, ...], counts: list[int], encoder: TextEncoder) -> None:
    long = [
        f"{item.organ}, {item.aspect} ({count})"
        for item, count in zip(items, counts, strict=True)
        if too_long(count, encoder)
    ]
    if long:
        more = f" and {len(long) - 5} more" if len(long) > 5 else ""
        raise ValueError(
            f"{len(long)} of {len(counts)} texts have more than the {encoder.token_limit} tokens "
            f"that {encoder.spec} reads: {'; '.join(long[:5])}{more}. Ask for shorter answers, or "
            "choose --long-text split-mean, truncate or shorten"
        )


def vectors_of(
    names: list[str], texts: list[str], counts: list[int], encoder: TextEncoder, long_text: str
) -> Vectors:
    """Vectors [text, E]; under `split-mean` a long text's is the mean over its sentences.

    Raises:
        ValueError: a sentence is too long; `names` say of which text.
    """
    if long_text != "split-mean":
        return encoder.encode(texts)
    parts = [
        sentences(text) if too_long(count, encoder) else [text]
        for text, count in zip(texts, counts, strict=True)
    ]
    for name, group in zip(names, parts, strict=True):
        for sentence in group:
            count = encoder.count_tokens(sentence)
            if too_long(count, encoder):
                raise ValueError(
                    f"{name}: a single sentence has {count} tokens, more "
                    f"than the {encoder.token_limit} that {encoder.spec} reads: {sentence!r}"
                )
    vectors = encoder.encode([sentence for group in parts for sentence in group])
    ends = np.cumsum([len(group) for group in parts])[:-1]
    return np.stack([group.mean(axis=0) for group in np.split(vectors, ends)])


def _shortened(item: Description, encoder: TextEncoder, shorten: Shortener | None) -> str:
    if not too_long(encoder.count_tokens(item.text), encoder):
        return item.text
    if shorten is None or encoder.token_limit is None:
        raise ValueError("shortening texts needs a model: give --model")
    return shorten(item, encoder.token_limit)


def _shortening(
    items: tuple[Description, ...], texts: list[str], shorten: Shortener | None
) -> dict[str, object]:
    """Which texts were shortened, and by which model."""
    changed = [
        f"{item.organ}, {item.aspect}"
        for item, text in zip(items, texts, strict=True)
        if text != item.text
    ]
    return {"shortened": changed, "shortened_by": shorten.identity} if shorten and changed else {}


def _origin(descriptions: DescriptionSet, encoder: TextEncoder) -> dict[str, object]:
    origins = [item.origin for item in descriptions.descriptions]
    dates = sorted(origin.date for origin in origins if origin.date)
    return {
        "kind": "descriptions",
        "template": descriptions.template,
        "template_digest": descriptions.template_digest,
        "variables": descriptions.variables,
        "providers": sorted({origin.provider for origin in origins}),
        "models": sorted({origin.model for origin in origins}),
        "services": sorted({origin.service for origin in origins if origin.service}),
        "parameters": _distinct([origin.parameters for origin in origins]),
        "answered": [dates[0], dates[-1]] if dates else [],
        "usage": descriptions.totals.model_dump(),
        "supported_share": descriptions.supported_share,
        **marks(descriptions),
        "encoder_weights": encoder.weights_digest(),
    }


def _distinct(parameters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each of several sets of parameters once, in their order."""
    return list({canonical_json(each): each for each in parameters}.values())
