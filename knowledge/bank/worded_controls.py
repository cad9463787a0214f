"""Control banks of other words, encoded by the bank's own encoder."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from knowledge.bank.bank import Bank
from knowledge.bank.encoding import sentences, too_long, vectors_of
from knowledge.bank.merge import require_same_encoder
from knowledge.encoders.base.encoder import TextEncoder

TEMPLATE = "a computerized tomography of a {organ}"
_SIDES = {"left": "right", "right": "left"}
# "left", "leftward", "right-sided", but not "leftover".
_SIDE = re.compile(r"\b(left|right)(?=\b|wards?\b|most\b|hand)", re.IGNORECASE)
Texts = tuple[tuple[str, ...], ...]


def worded(bank: Bank, kind: str, encoder: TextEncoder, seed: int = 0) -> Bank:
    """The bank with its texts replaced by the rule of a kind in `WORDED`, and encoded again.

    Raises:
        ValueError: the encoder is not the bank's, or the bank has no texts to change.
    """
    texts = WORDED[kind](bank, seed, encoder)
    flat = [text for row in texts for text in row]
    counts = [encoder.count_tokens(text) for text in flat]
    rule = "split-mean" if bank.long_text == "split-mean" else "truncate"
    names = [f"{organ}, {aspect}" for organ in bank.classes for aspect in bank.aspects]
    vectors = vectors_of(names, flat, counts, encoder, rule)
    origin = {"kind": kind, "like": bank.digest}
    control = replace(
        bank,
        vectors=vectors.reshape(*bank.token_counts.shape, -1),
        texts=texts,
        token_counts=np.asarray(counts, np.int32).reshape(bank.token_counts.shape),
        encoder=encoder.spec,
        fingerprint=encoder.fingerprint(),
        description_digest="",
        origin=origin | ({"seed": seed} if kind in _SEEDED else {}),
    )
    require_same_encoder(bank, control)
    return control


def _named(pattern: str) -> Callable[[Bank, int, TextEncoder], Texts]:
    """Every aspect of a class is the same few words around its name."""

    def texts(bank: Bank, seed: int, encoder: TextEncoder) -> Texts:
        return tuple((pattern.format(organ=name),) * len(bank.aspects) for name in bank.classes)

    return texts


def _scrambled(bank: Bank, seed: int, encoder: TextEncoder) -> Texts:
    """The words of each text in random order; within sentences where a text is encoded by them."""
    generator = np.random.default_rng(seed)

    def scramble(text: str) -> str:
        by_sentence = bank.long_text == "split-mean" and too_long(
            encoder.count_tokens(text), encoder
        )
        if not by_sentence:
            return " ".join(generator.permutation(text.split()))
        return " ".join(map(scramble_sentence, sentences(text)))

    def scramble_sentence(sentence: str) -> str:
        # The mark at the end and the capital at the start stay: by them it is found again.
        mark = sentence[-1] if sentence[-1] in ".!?" else ""
        words = " ".join(generator.permutation(sentence.removesuffix(mark).split()))
        return words[:1].upper() + words[1:] + mark

    return _changed(bank, scramble)


def _random_words(bank: Bank, seed: int, encoder: TextEncoder) -> Texts:
    """As many words as each text has, drawn from the words of all texts."""
    generator = np.random.default_rng(seed)
    pool = [word for row in bank.texts for text in row for word in text.split()]
    return _changed(bank, lambda text: " ".join(generator.choice(pool, len(text.split()))))


def _mirrored(bank: Bank, seed: int, encoder: TextEncoder) -> Texts:
    """Left and right exchanged in every text, letter case kept."""
    if not any(_SIDE.search(text) for row in bank.texts for text in row):
        raise ValueError("no text of the bank speaks of left or right: nothing to mirror")
    return _changed(bank, lambda text: _SIDE.sub(_other_side, text))


def _other_side(match: re.Match[str]) -> str:
    word = match[1]
    other = _SIDES[word.lower()]
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other


def _changed(bank: Bank, change: Callable[[str], str]) -> Texts:
    if not any(text for row in bank.texts for text in row):
        raise ValueError(f"the bank ({bank.encoder}) has no texts to change")
    return tuple(tuple(change(text) for text in row) for row in bank.texts)


_SEEDED = ("scrambled", "random-words")
WORDED: dict[str, Callable[[Bank, int, TextEncoder], Texts]] = {
    "class-name": _named("{organ}"),
    "template": _named(TEMPLATE),
    "scrambled": _scrambled,
    "random-words": _random_words,
    "mirrored": _mirrored,
}
