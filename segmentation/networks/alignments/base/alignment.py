"""The interface of an alignment of text and features.

Legend of shapes: N volumes, C classes, A aspects, E text width.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

IGNORED = -1  # the class of voxels that take no part


class Alignment(nn.Module):
    """A loss between text vectors and the three deepest feature levels.

    Constructors take `deep_widths`, channels of the three deepest levels, finest first,
    `text_width`, E, `own_deepest`, whether the head gives no text anchors of the deepest level, and
    `classes`, C, background included.
    The options of a recipe's `[alignment]` table are the other keyword-only arguments.

    Attributes:
        start: share of the run after which the term is used.
        class_rows: parameters with classes as first axis; fine-tuning takes rows by name.
    """

    start: float
    class_rows: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, deep_widths: Sequence[int], text_width: int, *, own_deepest: bool, classes: int = 0
    ) -> None:
        super().__init__()

    def project(self, deep: Sequence[Tensor]) -> list[Tensor]:
        """Embeddings of the three deepest levels, same shapes."""
        raise NotImplementedError(f"{type(self).__name__}.project")

    def forward(
        self,
        embeddings: Sequence[Tensor],
        labels: Tensor,
        vectors: Tensor,
        deepest: Tensor | None,
        generator: torch.Generator,
    ) -> Tensor:
        """One weighted loss.

        Args:
            embeddings: per level [N, c, x, y, z], from `project`.
            labels: [N, X, Y, Z], `IGNORED` where a voxel takes no part.
            vectors: text vectors [C, A, E].
            deepest: text anchors of the deepest level from the head, else None.
            generator: source of randomness.
        """
        raise NotImplementedError(f"{type(self).__name__}.forward")
