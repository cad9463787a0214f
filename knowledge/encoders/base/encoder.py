"""TextEncoder: texts in, vectors [text, width] out, with a token limit."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

# Encoded with every bank. Encoders that agree on these agree on everything that matters here.
FINGERPRINT_SENTENCES = (
    "A small round structure lies to the left of a large one.",
    "A small round structure lies to the right of a large one.",
    "The tube runs straight from top to bottom.",
    "C-shaped, hollow and folded back on itself.",
    "everything else",
)


class TextEncoder(ABC):
    """A frozen text encoder. Vectors come as the model pools them.

    A module in `knowledge/encoders` defines one child; help, `make_encoder` and the contract test
    find it there.

    Attributes:
        forms: specs with weights on this machine, as the user types them; for help and messages.
        hub_forms: specs with weights from the hub.
        example: a small spec for the contract test. `{folder}` in it stands for a folder that
            `tests/support/small_encoders.py` fills by the function named like the encoder.
    """

    name: ClassVar[str]
    forms: ClassVar[tuple[str, ...]]
    hub_forms: ClassVar[tuple[str, ...]] = ()
    example: ClassVar[str]

    def __init__(self, spec: str, token_limit: int | None) -> None:
        self.spec = spec
        self.token_limit = token_limit

    @classmethod
    @abstractmethod
    def from_argument(cls, argument: str, device: str) -> "TextEncoder":
        """The encoder for what follows the colon in `name:argument`, on a torch device.

        Raises:
            ValueError, LookupError: the argument is malformed or names an unknown choice.
            OSError: the weights are missing, damaged, or cannot be downloaded.
        """

    @classmethod
    def hub_repository(cls, argument: str) -> str | None:
        """The hub repository of the weights, or None if they are on this machine.

        Raises:
            ValueError, LookupError: the argument is malformed; needs no network.
            FileNotFoundError: the argument is a path, and nothing is there.
        """
        return None

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """The number of tokens of a text, special ones included, by the encoder's own tokenizer."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors float32 [text, width]. A text beyond `token_limit` is truncated: check before."""

    def weights_digest(self) -> str:
        """The sha256 of the weights in use, whatever their names; "" for an encoder without."""
        return ""

    def fingerprint(self) -> Vectors:
        """The vectors of fixed sentences, float32 [sentence, width]."""
        return self.encode(FINGERPRINT_SENTENCES)


def same_fingerprint(one: Vectors, other: Vectors) -> bool:
    """Whether two fingerprints come from the same encoder, rounding of devices aside."""
    if one.shape != other.shape:
        return False
    return bool(np.allclose(one, other, rtol=1e-2, atol=1e-2 * float(np.abs(one).max(initial=0.0))))


def in_batches(texts: Sequence[str], size: int) -> list[list[str]]:
    """The texts in lists of at most `size`."""
    return [list(texts[start : start + size]) for start in range(0, len(texts), size)]
