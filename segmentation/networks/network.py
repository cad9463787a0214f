"""A V-Net with its head and, where text is aligned with features, the projections for that."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from segmentation.networks.alignment import Contrast
from segmentation.networks.heads import ConvHead, TextHead
from segmentation.networks.vnet import VNet, decode_levels

DEEP = 3  # the levels that text head and alignment look at, counted from the deepest


class Output(NamedTuple):
    """What one pass gives: logits [B, C, x, y, z] and the three deepest feature levels."""

    logits: Tensor
    deep: list[Tensor]


class Network(nn.Module):
    """Image [B, 1, x, y, z] to logits [B, C, x, y, z] through a V-Net and a head."""

    def __init__(
        self, vnet: VNet, head: ConvHead | TextHead, contrast: Contrast | None = None
    ) -> None:
        super().__init__()
        self.vnet, self.head, self.contrast = vnet, head, contrast

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of every level, finest first."""
        return self.vnet.encode(image)

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Full-resolution features from all levels."""
        return self.vnet.decode(features)

    def forward(self, image: Tensor) -> Output:
        """Logits and deep features of an image."""
        return self.read(self.encode(image))

    def read(self, features: Sequence[Tensor]) -> Output:
        """Logits and deep features from the features of every level, finest first."""
        deep = list(features[-DEEP:])
        return Output(self.head(self.decode(features), deep), deep)

    def align(
        self, embeddings: Sequence[Tensor], labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The weighted contrast of projected features with the text; see `Contrast.forward`.

        Raises:
            ValueError: the network was built without alignment.
        """
        if self.contrast is None:
            raise ValueError("this network has no alignment; build it with alignment = contrast")
        shared = self.head.aspect_codes() if isinstance(self.head, TextHead) else None
        return self.contrast(embeddings, labels, shared, generator)


class Branch(nn.Module):
    """Decoder and head taken from a network; they read the features of another one's encoder."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        vnet = network.vnet
        self.up, self.decoder, self.dropout = vnet.up, vnet.decoder, vnet.dropout
        self.head = network.head

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits [B, C, x, y, z] from the features of every level, finest first."""
        finest = decode_levels(features, self.up, self.decoder)[0]
        return self.head(self.dropout(finest), list(features[-DEEP:]))
