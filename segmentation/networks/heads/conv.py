"""The convolutional head."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from segmentation.networks.heads.base.head import Head, HeadInputs


class ConvHead(nn.Conv3d, Head):
    """One 1x1x1 convolution from the decoded features to the logits of all classes."""

    class_rows: ClassVar[tuple[str, ...]] = ("weight", "bias")

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(width, classes, 1)

    @classmethod
    def build(cls, inputs: HeadInputs, **options: Any) -> Self:
        """The head of a network; see `Head.build`."""
        return cls(inputs.width, inputs.classes, **options)

    def forward(
        self, decoded: Tensor, deep: Sequence[Tensor] = (), vectors: Tensor | None = None
    ) -> Tensor:
        """Logits [B, C, x, y, z]; deep features and text are ignored."""
        return super().forward(decoded)
