"""Control banks for honest ablations: does the text matter, or just any vectors?"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from knowledge.bank.bank import Bank
from knowledge.bank.merge import require_same_encoder
from knowledge.descriptions import BACKGROUND
from knowledge.encoders.base.encoder import TextEncoder

TEMPLATE = "a computerized tomography of a {organ}"


def random(bank: Bank, seed: int) -> Bank:
    """Gaussian vectors with the lengths of the bank's own: no meaning, no relation."""
    generator = np.random.default_rng(seed)
    drawn = generator.standard_normal(bank.vectors.shape)
    lengths = np.linalg.norm(bank.vectors, axis=2, keepdims=True)
    vectors = drawn / np.linalg.norm(drawn, axis=2, keepdims=True) * lengths
    return _wordless(bank, "random", vectors, seed)


def onehot(bank: Bank, seed: int) -> Bank:
    """Each class its own axis, as long as the bank's mean vector: told apart, nothing shared."""
    classes, aspects, width = bank.vectors.shape
    if width < classes:
        raise ValueError(f"one-hot vectors of {classes} classes do not fit a width of {width}")
    length = float(np.linalg.norm(bank.vectors, axis=2).mean())
    vectors = np.repeat(np.eye(classes, width)[:, None] * length, aspects, axis=1)
    return _wordless(bank, "onehot", vectors, seed)


def shuffled(bank: Bank, seed: int) -> Bank:
    """Each organ with the text of another, the background with its own.

    Raises:
        ValueError: fewer than two organs.
    """
    organs = [row for row, name in enumerate(bank.classes) if name != BACKGROUND]
    if len(organs) < 2:
        raise ValueError("to exchange texts there must be two organs at least")
    # One random cycle through all organs: nobody keeps the own text.
    cycle = np.random.default_rng(seed).permutation(organs)
    source = np.arange(len(bank.classes))
    source[cycle] = np.roll(cycle, 1)
    made = _control(bank, "shuffled", bank.vectors[source], seed)
    return replace(
        made,
        texts=tuple(bank.texts[row] for row in source),
        token_counts=bank.token_counts[source],
    )


CONTROLS: dict[str, Callable[[Bank, int], Bank]] = {
    "random": random,
    "onehot": onehot,
    "shuffled": shuffled,
}
WORDED = {"class-name": "{organ}", "template": TEMPLATE}


def worded(bank: Bank, kind: str, encoder: TextEncoder) -> Bank:
    """Every aspect of a class is the same few words: its name, or the usual template.

    Raises:
        ValueError: the encoder is not the bank's.
    """
    texts = [WORDED[kind].format(organ=name) for name in bank.classes]
    vectors = np.repeat(encoder.encode(texts)[:, None], len(bank.aspects), axis=1)
    counts = np.array([[encoder.count_tokens(text)] * len(bank.aspects) for text in texts])
    made = replace(
        bank,
        vectors=vectors,
        texts=tuple((text,) * len(bank.aspects) for text in texts),
        token_counts=counts.astype(np.int32),
        encoder=encoder.spec,
        fingerprint=encoder.fingerprint(),
        description_digest="",
        origin={"kind": kind, "like": bank.digest},
    )
    require_same_encoder(bank, made)
    return made


def _wordless(bank: Bank, kind: str, vectors: np.ndarray, seed: int) -> Bank:
    """A control whose vectors come from no text, so that none is shown as what a head was told."""
    texts = tuple(("",) * len(bank.aspects) for _ in bank.classes)
    made = _control(bank, kind, vectors, seed)
    return replace(made, texts=texts, token_counts=np.zeros_like(bank.token_counts))


def _control(bank: Bank, kind: str, vectors: np.ndarray, seed: int) -> Bank:
    return replace(
        bank,
        vectors=vectors.astype(np.float32),
        description_digest="",
        origin={"kind": kind, "like": bank.digest, "seed": seed},
    )
