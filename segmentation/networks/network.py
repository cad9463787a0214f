"""The segmentation network: V-Net, head and, if text is aligned with features, projections."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from segmentation.networks.alignments.base.alignment import Alignment
from segmentation.networks.heads.base.head import Head
from segmentation.networks.heads.text import TextHead
from segmentation.networks.text_block import TextBlock
from segmentation.networks.vnet import VNet, decode_levels

_Value = TypeVar("_Value")
_FORMER_VECTORS = re.compile(r"(?:head|contrast)\.vectors$")

DEEP = 3  # number of deepest levels that text head and alignment read


class Output(NamedTuple):
    """Output of a forward pass: logits [B, C, x, y, z] and the three deepest feature levels."""

    logits: Tensor
    deep: list[Tensor]


class Network(nn.Module):
    """Image [B, 1, x, y, z] to logits [B, C, x, y, z] through a V-Net and a head.

    Args:
        vectors: text vectors [C, A, E] that a text head and the alignment read; a buffer, never
            trained. None where neither reads text.
        learnable: random vectors of the same lengths, which are trained, in place of `vectors`.
        text_blocks: of the deepest levels, finest first; they put text into the features.

    Raises:
        ValueError: vectors of another shape, or none where text is read.
    """

    vectors: Tensor | None

    def __init__(
        self,
        vnet: VNet,
        head: Head,
        contrast: Alignment | None = None,
        vectors: Tensor | None = None,
        *,
        learnable: bool = False,
        text_blocks: Sequence[TextBlock] = (),
    ) -> None:
        super().__init__()
        if vectors is None and (contrast is not None or head.reads_text or text_blocks):
            raise ValueError("text head, alignment and text blocks need text vectors; got none")
        if vectors is not None and vectors.ndim != 3:
            raise ValueError(f"text vectors must be [class, aspect, dim], not {vectors.shape}")
        self.vnet, self.head, self.contrast = vnet, head, contrast
        self.text_blocks = nn.ModuleList(text_blocks)
        if vectors is not None and learnable:
            drawn = nn.functional.normalize(torch.randn_like(vectors.float()), dim=-1)
            self.vectors = nn.Parameter(drawn * vectors.float().norm(dim=-1, keepdim=True))
            return
        self.register_buffer(
            "vectors", None if vectors is None else vectors.detach().float().clone()
        )

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of every level, finest first; the deepest ones through the text blocks."""
        features = self.vnet.encode(image)
        first = len(features) - len(self.text_blocks)
        for level, block in enumerate(self.text_blocks, start=first):
            features[level] = block(features[level], self.vectors)
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Full-resolution features from all levels."""
        return self.vnet.decode(features)

    def forward(self, image: Tensor) -> Output:
        """Logits and deep features of an image."""
        return self.read(self.encode(image))

    def read(self, features: Sequence[Tensor]) -> Output:
        """Logits and deep features from the features of every level, finest first."""
        deep = list(features[-DEEP:])
        return Output(self.logits(self.decode(features), deep), deep)

    def logits(self, decoded: Tensor, deep: Sequence[Tensor]) -> Tensor:
        """Logits [B, C, x, y, z] from decoded features and the three deepest levels."""
        return self.head(decoded, deep, self.vectors)

    def class_codes(self) -> Tensor:
        """The text head's code of every class: [C, Q]."""
        assert isinstance(self.head, TextHead)
        assert self.vectors is not None
        return self.head.class_codes(self.vectors)

    def align(
        self, embeddings: Sequence[Tensor], labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The weighted contrast of projected features with the text; see `Alignment.forward`.

        Raises:
            ValueError: the network was built without alignment.
        """
        if self.contrast is None or self.vectors is None:
            raise ValueError("this network has no alignment; build it with alignment = contrast")
        projects = self.head.projects_text  # an alignment shares the text anchors of such a head
        deepest = self.head.aspect_codes(self.vectors) if projects else None
        return self.contrast(embeddings, labels, self.vectors, deepest, generator)


class Branch(nn.Module):
    """Decoder and head of a network without its encoder; reads another encoder's features."""

    vectors: Tensor | None

    def __init__(self, network: Network) -> None:
        super().__init__()
        vnet = network.vnet
        if isinstance(network.vectors, nn.Parameter):
            self.vectors = network.vectors
        else:
            self.register_buffer("vectors", network.vectors)
        self.up, self.decoder, self.dropout = vnet.up, vnet.decoder, vnet.dropout
        self.head = network.head

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits [B, C, x, y, z] from the features of every level, finest first."""
        finest = decode_levels(features, self.up, self.decoder)[0]
        return self.head(self.dropout(finest), list(features[-DEEP:]), self.vectors)


def with_current_names(state: Mapping[str, _Value]) -> dict[str, _Value]:
    """A state of networks in which the text vectors have their present name.

    Up to format 1 of checkpoints and bundles, head and alignment kept a copy of them each:
    `head.vectors` and `contrast.vectors`, in place of the network's `vectors`.
    """
    return {_FORMER_VECTORS.sub("vectors", name): value for name, value in state.items()}


def text_vectors(state: Mapping[str, Tensor]) -> Tensor | None:
    """The text vectors [C, A, E] in a state of one or several networks, None without text."""
    return next((state[name] for name in state if name.rpartition(".")[2] == "vectors"), None)
