"""From decoded features to class logits: one convolution, or weights that text and image generate.

Legend of shapes: B batch, C classes, A aspects, E text width, Q class code width, V voxels.
"""

from collections.abc import Sequence
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_INNER = 8  # channels inside the generated head: 8 -> 8 -> 8 -> 1
PARAMETERS = 2 * _INNER * _INNER + _INNER + 2 * _INNER + 1  # 153 numbers per class


class ConvHead(nn.Conv3d):
    """One 1x1x1 convolution from the decoded features to the logits of all classes."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(width, classes, 1)

    def forward(self, decoded: Tensor, deep: Sequence[Tensor] = ()) -> Tensor:
        """Logits [B, C, x, y, z]; the deep features are not looked at."""
        return super().forward(decoded)


class TextHead(nn.Module):
    """A small network per image and class, whose weights come from its text and the image.

    Frozen text vectors give a class code, globally pooled features of the three deepest levels an
    image code; a linear controller turns both into 153 numbers, three pointwise layers 8-8-8-1
    (TAK, 2025, arXiv 2501.13470; head of the CLIP-Driven Universal Model, 2023, arXiv 2301.00785).

    Args:
        width: channels of the decoded features.
        deep_widths: channels of the three deepest levels.
        vectors: text vectors [C, A, E]; kept as a buffer, never trained.
    """

    vectors: Tensor

    def __init__(self, width: int, deep_widths: Sequence[int], vectors: Tensor) -> None:
        super().__init__()
        if vectors.ndim != 3:
            raise ValueError(f"text vectors must be [class, aspect, dim], not {vectors.shape}")
        _, aspects, text_width = vectors.shape
        code = deep_widths[-1]
        self.register_buffer("vectors", vectors.detach().float().clone())
        self.project = nn.Sequential(nn.Linear(text_width, code), nn.ReLU())
        self.combine = nn.Sequential(nn.Linear(aspects * code, code), nn.ReLU())
        self.pool = nn.ModuleList(PooledCode(channels, code) for channels in deep_widths)
        self.controller = nn.Linear(2 * code, PARAMETERS)
        self.prepare = nn.Sequential(
            nn.GroupNorm(gcd(16, width), width), nn.ReLU(), nn.Conv3d(width, _INNER, 1)
        )

    def aspect_codes(self) -> Tensor:
        """Every text vector, projected: [C, A, Q]."""
        return self.project(self.vectors)

    def class_codes(self) -> Tensor:
        """One code per class from all its aspects: [C, Q]."""
        return self.combine(self.aspect_codes().flatten(1))

    def image_code(self, deep: Sequence[Tensor]) -> Tensor:
        """One code per image, the mean over three levels: [B, Q]."""
        codes = [pool(level) for pool, level in zip(self.pool, deep, strict=True)]
        return torch.stack(codes).mean(0)

    def generated(self, deep: Sequence[Tensor]) -> Tensor:
        """The weights of the small networks: [B, C, 153]."""
        image, classes = self.image_code(deep), self.class_codes()
        pairs = [
            image[:, None].expand(-1, len(classes), -1),
            classes[None].expand(len(image), -1, -1),
        ]
        return self.controller(torch.cat(pairs, dim=-1))

    def forward(self, decoded: Tensor, deep: Sequence[Tensor]) -> Tensor:
        """Logits [B, C, x, y, z] of decoded features [B, width, x, y, z]."""
        return apply_generated(self.prepare(decoded), self.generated(deep))


class PooledCode(nn.Module):
    """GroupNorm, ReLU, global average pool and a linear map: [B, c, x, y, z] -> [B, Q]."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(gcd(16, channels), channels)
        self.linear = nn.Linear(channels, code)

    def forward(self, features: Tensor) -> Tensor:
        """One code per image."""
        return self.linear(F.relu(self.norm(features)).flatten(2).mean(2))


def apply_generated(features: Tensor, parameters: Tensor) -> Tensor:
    """Run the generated networks pointwise: z = w3 ReLU(W2 ReLU(W1 h + b1) + b2) + b3.

    All classes share the features, so layer 1 is one matrix of 8 C rows and nothing is copied per
    class.

    Args:
        features: [B, 8, x, y, z].
        parameters: [B, C, 153], laid out as W1, W2, w3, b1, b2, b3.

    Returns:
        Logits [B, C, x, y, z].
    """
    batch, classes, _ = parameters.shape
    square = _INNER * _INNER
    sizes = [square, square, _INNER, _INNER, _INNER, 1]
    w1, w2, w3, b1, b2, b3 = parameters.split(sizes, dim=-1)
    points = features.flatten(2)
    first = torch.baddbmm(
        b1.reshape(batch, -1, 1), w1.reshape(batch, classes * _INNER, _INNER), points
    )
    hidden = F.relu(first).reshape(batch * classes, _INNER, -1)
    second = torch.baddbmm(b2.reshape(-1, _INNER, 1), w2.reshape(-1, _INNER, _INNER), hidden)
    third = torch.baddbmm(b3.reshape(-1, 1, 1), w3.reshape(-1, 1, _INNER), F.relu(second))
    return third.reshape(batch, classes, *features.shape[2:])
