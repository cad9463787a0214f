"""Control banks without an encoder: drawn vectors, or the bank's own in other places."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from knowledge.bank.bank import Bank
from knowledge.descriptions import BACKGROUND


def random(bank: Bank, seed: int) -> Bank:
    """Gaussian vectors with the lengths of the bank's own: no meaning, no relation."""
    drawn = np.random.default_rng(seed).standard_normal(bank.vectors.shape)
    return drawn_control(bank, "random", as_long(bank, drawn), seed)


def gram(bank: Bank, seed: int) -> Bank:
    """Gaussian directions with the bank's own Gram matrix over all classes and aspects.

    Lengths, cosines and the mean vector's length are the bank's: whatever a head learns from the
    similarities alone, it can learn from this bank too.
    """
    classes, aspects, width = bank.vectors.shape
    rows = bank.vectors.reshape(classes * aspects, width).astype(np.float64)
    left, singular, _ = np.linalg.svd(rows, full_matrices=False)
    # rows = left * singular @ right. Any orthonormal rows in place of `right` keep rows @ rows.T.
    basis = orthonormal(len(singular), width, np.random.default_rng(seed))
    vectors = ((left * singular) @ basis).reshape(bank.vectors.shape)
    return drawn_control(bank, "gram", vectors, seed)


def onehot(bank: Bank, seed: int) -> Bank:
    """Each class its own axis, as long as the bank's mean vector: separable, nothing shared."""
    classes, aspects, width = bank.vectors.shape
    if width < classes:
        raise ValueError(f"one-hot vectors of {classes} classes do not fit a width of {width}")
    length = float(np.linalg.norm(bank.vectors, axis=2).mean())
    vectors = np.repeat(np.eye(classes, width)[:, None] * length, aspects, axis=1)
    return drawn_control(bank, "onehot", vectors, seed)


def etf(bank: Bank, seed: int) -> Bank:
    """A simplex (equiangular tight frame), turned at random: every cosine is -1 / (C - 1).

    The classes are as far apart as vectors of their lengths can be, and the directions sum to
    zero. Papyan, Han and Donoho 2020 (arXiv 2008.08186).

    Raises:
        ValueError: a single class, or a width below the number of classes less one.
    """
    classes, aspects, width = bank.vectors.shape
    if classes < 2 or width < classes - 1:
        raise ValueError(f"a simplex of {classes} classes does not fit a width of {width}")
    # The axes of C dimensions less their mean span C - 1 dimensions: coordinates in these.
    _, _, coordinates = np.linalg.svd(np.eye(classes) - 1 / classes)
    corners = coordinates[: classes - 1].T
    generator = np.random.default_rng(seed)
    turned = [corners @ orthonormal(classes - 1, width, generator) for _ in range(aspects)]
    return drawn_control(bank, "etf", as_long(bank, np.stack(turned, axis=1)), seed)


def shuffled(bank: Bank, seed: int) -> Bank:
    """Each organ with the text of another, the background with its own.

    Raises:
        ValueError: fewer than two organs.
    """
    organs = [row for row, name in enumerate(bank.classes) if name != BACKGROUND]
    if len(organs) < 2:
        raise ValueError("to exchange texts there must be two organs at least")
    # One random cycle through all organs: none keeps its own text.
    cycle = np.random.default_rng(seed).permutation(organs)
    source = np.arange(len(bank.classes))
    source[cycle] = np.roll(cycle, 1)
    exchanged = _control(bank, "shuffled", bank.vectors[source], seed)
    return replace(
        exchanged,
        texts=tuple(bank.texts[row] for row in source),
        token_counts=bank.token_counts[source],
    )


def swapped_aspects(bank: Bank, seed: int) -> Bank:
    """Each aspect of an organ with the text of the organ's next aspect.

    Raises:
        ValueError: a single aspect.
    """
    aspects = len(bank.aspects)
    if aspects < 2:
        raise ValueError("to swap aspects there must be two at least")
    source = np.roll(np.arange(aspects), -1)
    swapped = _control(bank, "swapped-aspects", bank.vectors[:, source], seed)
    return replace(
        swapped,
        texts=tuple(tuple(row[column] for column in source) for row in bank.texts),
        token_counts=bank.token_counts[:, source],
    )


CONTROLS: dict[str, Callable[[Bank, int], Bank]] = {
    "random": random,
    "gram": gram,
    "onehot": onehot,
    "etf": etf,
    "shuffled": shuffled,
    "swapped-aspects": swapped_aspects,
}


def drawn_control(bank: Bank, kind: str, vectors: NDArray[np.float64], seed: int) -> Bank:
    """A control whose vectors come from no text, so that none is shown as their source."""
    texts = tuple(("",) * len(bank.aspects) for _ in bank.classes)
    drawn = _control(bank, kind, vectors, seed)
    return replace(drawn, texts=texts, token_counts=np.zeros_like(bank.token_counts))


def _control(bank: Bank, kind: str, vectors: np.ndarray, seed: int) -> Bank:
    return replace(
        bank,
        vectors=vectors.astype(np.float32),
        description_digest="",
        origin={"kind": kind, "like": bank.digest, "seed": seed},
    )


def as_long(bank: Bank, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors [C, A, E] in their directions, with the lengths of the bank's."""
    lengths = np.linalg.norm(bank.vectors.astype(np.float64), axis=2, keepdims=True)
    return vectors / np.linalg.norm(vectors, axis=2, keepdims=True) * lengths


def orthonormal(rows: int, width: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Random orthonormal rows [rows, width], uniform over all directions."""
    basis, triangle = np.linalg.qr(generator.standard_normal((width, rows)))
    # QR leaves signs to the implementation; those of the triangle make the draw uniform.
    return (basis * np.sign(np.diag(triangle))).T
