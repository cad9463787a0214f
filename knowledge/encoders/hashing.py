"""Feature hashing of words and word pairs: no weights; for tests, controls and dry runs."""

import hashlib
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np

from knowledge.encoders.base.encoder import TextEncoder, Vectors

MAX_WIDTH = 65_536


class Hashing(TextEncoder):
    """Feature hashing: each word and each pair of neighbors adds a fixed random direction.

    Texts that share words have similar vectors; meaning plays no part. Deterministic on every
    machine. A token is a word.
    """

    name: ClassVar[str] = "hashing"
    forms: ClassVar[tuple[str, ...]] = ("hashing:WIDTH (no weights, no meaning: for tests)",)
    example: ClassVar[str] = "hashing:16"

    def __init__(self, width: int = 512, *, token_limit: int | None = None) -> None:
        if not 1 <= width <= MAX_WIDTH:
            raise ValueError(f"hashing:{width}: expected a width of 1 to {MAX_WIDTH}, got {width}")
        super().__init__(f"hashing:{width}", token_limit)
        self.width = width

    @classmethod
    def from_argument(cls, argument: str, device: str) -> "Hashing":
        """`hashing` or `hashing:<width>`."""
        if argument and not argument.isdecimal():
            raise ValueError(f"hashing:{argument}: expected a width such as 512, got {argument!r}")
        if len(argument) > len(str(MAX_WIDTH)):
            raise ValueError(f"hashing:{argument[:20]}: expected a width of 1 to {MAX_WIDTH}")
        return cls(int(argument)) if argument else cls()

    def count_tokens(self, text: str) -> int:
        """The number of words."""
        return len(_words(text))

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors float32 [text, width]; the empty text is zero."""
        if not texts:
            return np.zeros((0, self.width), np.float32)
        return np.stack([self._encode_one(text) for text in texts])

    def _encode_one(self, text: str) -> Vectors:
        words = _words(text)[: self.token_limit]
        pairs = [f"{first} {second}" for first, second in pairwise(words)]
        total = np.zeros(self.width, np.float64)
        for feature in words + pairs:
            total += self._direction(feature)
        return (total / max(1.0, np.sqrt(len(words) + len(pairs)))).astype(np.float32)

    def _direction(self, feature: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(feature.encode()).digest()[:8], "big")
        signs = np.random.default_rng(seed).integers(0, 2, self.width) * 2 - 1
        return signs / np.sqrt(self.width)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
