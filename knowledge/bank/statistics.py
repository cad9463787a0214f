"""Separability of a bank's classes: cosines, most similar pairs, effective rank, sides."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowledge.bank.bank import Bank
from knowledge.encoders.base.encoder import Vectors
from knowledge.grounding.sides import mirror


@dataclass(frozen=True)
class AspectStatistics:
    """One aspect of a bank; `pairs` are the most similar classes, (cosine, class, class)."""

    aspect: str
    smallest_norm: float
    mean_norm: float
    largest_norm: float
    mean_cosine: float
    effective_rank: float
    pairs: tuple[tuple[float, str, str], ...]
    side_distance: float | None
    mean_distance: float

    @property
    def side_separation(self) -> float | None:
        """Distance of left/right partners in units of the mean distance of two classes."""
        if self.side_distance is None or self.mean_distance == 0:
            return None
        return self.side_distance / self.mean_distance


def statistics(bank: Bank, pairs: int = 5) -> tuple[AspectStatistics, ...]:
    """The statistics of each aspect, with its `pairs` most similar pairs of classes."""
    return tuple(
        _of_aspect(bank, column, aspect, pairs) for column, aspect in enumerate(bank.aspects)
    )


def cosines(vectors: Vectors) -> NDArray[np.float64]:
    """Cosine similarities [C, C] of vectors [C, E]; a zero vector is similar to nothing."""
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit = vectors / np.where(norms == 0, 1.0, norms)
    return np.clip(unit @ unit.T, -1.0, 1.0)


def effective_rank(vectors: Vectors) -> float:
    """The number of directions that vectors [C, E] spread over, from 1 to C - 1.

    exp of the entropy of the normalized singular values of the centered vectors (Roy and
    Vetterli 2007, "The effective rank"); 0 when all vectors are equal.
    """
    centered = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    singular = np.linalg.svd(centered, compute_uv=False)
    singular = singular[singular > 1e-9 * max(1e-30, float(np.abs(vectors).max()))]
    if not len(singular):
        return 0.0
    share = singular / singular.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def _of_aspect(bank: Bank, column: int, aspect: str, pairs: int) -> AspectStatistics:
    vectors = bank.vectors[:, column]
    norms = np.linalg.norm(vectors, axis=1)
    similar = cosines(vectors)
    rows, columns = np.triu_indices(len(vectors), k=1)
    values = similar[rows, columns]
    nearest = np.argsort(-values, kind="stable")[:pairs]
    mean = float(values.mean()) if len(values) else 1.0
    return AspectStatistics(
        aspect=aspect,
        smallest_norm=float(norms.min()),
        mean_norm=float(norms.mean()),
        largest_norm=float(norms.max()),
        mean_cosine=mean,
        effective_rank=effective_rank(vectors),
        pairs=tuple(
            (float(values[i]), bank.classes[rows[i]], bank.classes[columns[i]]) for i in nearest
        ),
        side_distance=_side_distance(bank.classes, similar),
        mean_distance=1.0 - mean,
    )


def _side_distance(classes: tuple[str, ...], similar: NDArray[np.float64]) -> float | None:
    """The mean distance (1 - cosine) of classes that differ by left and right in their name."""
    distances = [
        1.0 - similar[row, classes.index(partner)]
        for row, name in enumerate(classes)
        if (partner := mirror(name)) in classes
    ]
    return float(np.mean(distances)) if distances else None
