"""Contrast between text vectors and visual features (TAK, 2025, arXiv 2501.13470).

Legend of shapes: N volumes, C classes, A aspects, R rows (sampled voxels and text anchors).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IGNORED = -1


class Contrast(nn.Module):
    """Supervised contrast at the three deepest levels; text vectors are rows of every class.

    The text vectors [C, A, E] themselves belong to the network, which passes them.

    Args:
        deep_widths: channels of the three deepest levels, finest first.
        text_width: E of the text vectors.
        own_deepest: whether the deepest text projection is made here; the text head brings its own.
        weight: factor of the summed loss.
        start: share of the run after which the term is used.
        samples: voxels per volume and class at each level.
        temperature: divides the cosine similarities.
    """

    def __init__(
        self,
        deep_widths: Sequence[int],
        text_width: int,
        *,
        own_deepest: bool,
        weight: float = 0.1,
        start: float = 21 / 161,
        samples: Sequence[int] = (40, 20, 10),
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        if len(samples) != len(deep_widths) or min(samples) < 1:
            raise ValueError(f"samples must be {len(deep_widths)} positive numbers, not {samples}")
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.weight, self.start = weight, start
        self.samples, self.temperature = tuple(samples), temperature
        projected = deep_widths if own_deepest else deep_widths[:-1]
        self.text = nn.ModuleList(
            nn.Sequential(nn.Linear(text_width, width), nn.ReLU()) for width in projected
        )
        self.visual = nn.ModuleList(VisualProjection(width) for width in deep_widths)

    def project(self, deep: Sequence[Tensor]) -> list[Tensor]:
        """Embeddings of the three deepest levels, same shapes."""
        return [visual(level) for visual, level in zip(self.visual, deep, strict=True)]

    def anchors(self, vectors: Tensor, deepest: Tensor | None) -> list[Tensor]:
        """Text anchors [C, A, width] per level; `deepest` are those of the text head, if any."""
        anchors = [text(vectors) for text in self.text]
        return anchors if deepest is None else [*anchors, deepest]

    def forward(
        self,
        embeddings: Sequence[Tensor],
        labels: Tensor,
        vectors: Tensor,
        deepest: Tensor | None,
        generator: torch.Generator,
    ) -> Tensor:
        """The weighted sum of the contrast over the levels.

        Args:
            embeddings: per level [N, c, x, y, z], as `project` gives them.
            labels: [N, X, Y, Z], `IGNORED` where a voxel takes no part.
            vectors: text vectors [C, A, E].
            deepest: text anchors of the deepest level, or None where they are made here.
            generator: draws the voxels.
        """
        total = labels.new_zeros((), dtype=torch.float32)
        levels = zip(embeddings, self.anchors(vectors, deepest), self.samples, strict=True)
        for features, text, samples in levels:
            small = resize_labels(labels, features.shape[2:])
            rows, kinds = sample_rows(features, small, samples, len(text), generator)
            text_kinds = torch.arange(len(text), device=kinds.device).repeat_interleave(
                text.shape[1]
            )
            rows = torch.cat([rows.float(), text.flatten(0, 1).float()])
            total = total + contrast(rows, torch.cat([kinds, text_kinds]), self.temperature)
        return self.weight * total


class VisualProjection(nn.Sequential):
    """1x1x1 convolution, InstanceNorm, ReLU, 1x1x1 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Conv3d(width, width, 1),
            nn.InstanceNorm3d(width),
            nn.ReLU(inplace=True),
            nn.Conv3d(width, width, 1),
        )


def resize_labels(labels: Tensor, shape: Sequence[int]) -> Tensor:
    """Labels [N, X, Y, Z] at the resolution of features, nearest neighbor."""
    small = F.interpolate(labels[:, None].float(), size=tuple(shape), mode="nearest")
    return small[:, 0].long()


def sample_rows(
    features: Tensor, labels: Tensor, samples: int, classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Up to `samples` random voxels of every class in every volume.

    Args:
        features: [N, c, x, y, z].
        labels: [N, x, y, z]; `IGNORED` voxels are never drawn.

    Returns:
        Rows [R, c] and their classes [R]. How many rows there are is known only when the device has
        counted; on one that works ahead of the host there are N C samples of them, and those that
        no voxel fills have the class `IGNORED`.
    """
    kinds = labels.flatten()
    volume = torch.arange(len(labels), device=labels.device)[:, None].expand(-1, labels[0].numel())
    group = torch.where(kinds >= 0, volume.flatten() * classes + kinds, len(labels) * classes)
    precision = torch.float32 if kinds.device.type == "mps" else torch.float64
    key = torch.rand(kinds.shape, generator=generator, device=kinds.device, dtype=precision)
    shuffled = key.argsort()
    order = shuffled[group[shuffled].argsort(stable=True)]
    groups = torch.arange(len(labels) * classes, device=order.device)
    sorted_group = group[order]
    first = torch.searchsorted(sorted_group, groups)[:, None]
    stop = torch.searchsorted(sorted_group, groups, right=True)[:, None]
    places = first + torch.arange(samples, device=order.device)
    there = (places < stop).flatten()
    chosen = order[places.flatten().clamp(max=len(order) - 1)]
    if _counts_cost_nothing(labels.device):
        chosen = chosen[there]
        found = kinds[chosen]
    else:
        found = kinds[chosen].masked_fill(~there, IGNORED)
    return features.permute(0, 2, 3, 4, 1).reshape(-1, features.shape[1])[chosen], found


def _counts_cost_nothing(device: torch.device) -> bool:
    return device.type == "cpu"


def contrast(rows: Tensor, kinds: Tensor, temperature: float = 0.07) -> Tensor:
    """Supervised contrastive loss, mean over all rows.

    With s = cos / temperature, for row i: the mean over positives j (same class, j != i) of
    -ln(e^s_ij / (e^s_ij + sum over other classes m of e^s_im)).

    Args:
        rows: [R, c], any length; they are normalized here.
        kinds: classes [R]; rows of the class `IGNORED` take no part.
    """
    rows = F.normalize(rows, dim=1)
    scores = rows @ rows.T / temperature
    scores = scores - scores.amax(1, keepdim=True).detach()
    counted = kinds >= 0
    same = kinds[:, None] == kinds[None]
    powers = scores.exp()
    negatives = powers.masked_fill(same | ~counted, 0).sum(1, keepdim=True)
    terms = scores - (powers + negatives).log()
    positives = (same & counted).fill_diagonal_(False)
    counts = positives.sum(1)
    means = (terms * positives).sum(1) / (counts + 1e-5)
    return -(means * counted).sum() / counted.sum()
