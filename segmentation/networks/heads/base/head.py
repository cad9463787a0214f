"""The interface of a segmentation head.

Legend of shapes: B batch, C classes, A aspects, E text width, Q width of the deepest level.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn


@dataclass(frozen=True)
class HeadInputs:
    """Sizes that a head is built for.

    Attributes:
        width: channels of the decoded features.
        deep_widths: channels of the three deepest levels, finest first.
        classes: C, background included.
        aspects, text_width: A and E of the text vectors; 0 without text.
    """

    width: int
    deep_widths: tuple[int, ...]
    classes: int
    aspects: int = 0
    text_width: int = 0


class Head(nn.Module):
    """The last layer: decoded features to class logits.

    The options of a recipe's `[head]` table are the keyword-only arguments of the constructor.

    Attributes:
        reads_text: whether `forward` needs text vectors; a run without a bank is then refused.
        projects_text: whether `aspect_codes` gives text anchors of the deepest level, which an
            alignment shares.
        class_rows: parameters with classes as first axis; fine-tuning takes rows by name.
    """

    reads_text: ClassVar[bool] = False
    projects_text: ClassVar[bool] = False
    class_rows: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def build(cls, inputs: HeadInputs, **options: Any) -> Self:
        """The head for a network of these sizes, with the options of a recipe.

        Raises:
            LookupError, ValueError: an option that cannot be.
        """
        raise NotImplementedError(f"{cls.__name__}.build")

    def forward(self, decoded: Tensor, deep: Sequence[Tensor], vectors: Tensor | None) -> Tensor:
        """Logits [B, C, x, y, z].

        Args:
            decoded: full-resolution features [B, width, x, y, z].
            deep: the three deepest levels, finest first.
            vectors: text vectors [C, A, E]; None without text.
        """
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def aspect_codes(self, vectors: Tensor) -> Tensor:
        """Text anchors [C, A, Q] of text vectors [C, A, E], if `projects_text`."""
        raise NotImplementedError(f"{type(self).__name__}.aspect_codes")
