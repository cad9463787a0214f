"""Alignment by contrast between text vectors and visual features (TAK, 2025, arXiv 2501.13470).

Legend of shapes: N volumes, C classes, A aspects, R rows (sampled voxels and text anchors).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from segmentation.networks.alignments.base.alignment import IGNORED, Alignment

_BLOCK_CPU, _BLOCK_GPU = 2**22, 2**25  # similarities that exist at a time


class Contrast(Alignment):
    """Supervised contrastive loss at the three deepest levels; text anchors are rows of each class.

    The text vectors [C, A, E] themselves belong to the network, which passes them.

    Args:
        deep_widths: channels of the three deepest levels, finest first.
        text_width: E of the text vectors.
        own_deepest: whether this module has a text projection of the deepest level; a text head
            has one already.
        classes: C, which this alignment does not need.
        weight: factor of the summed loss.
        start: share of the run after which the term is used.
        samples: voxels per volume and class at each level.
        temperature: divisor of the cosine similarities.
    """

    def __init__(
        self,
        deep_widths: Sequence[int],
        text_width: int,
        *,
        own_deepest: bool,
        classes: int = 0,
        weight: float = 0.1,
        start: float = 21 / 161,
        samples: Sequence[int] = (40, 20, 10),
        temperature: float = 0.07,
    ) -> None:
        super().__init__(deep_widths, text_width, own_deepest=own_deepest, classes=classes)
        if len(samples) != len(deep_widths) or min(samples) < 1:
            raise ValueError(
                f"samples: expected {len(deep_widths)} positive numbers, got {samples}"
            )
        if temperature <= 0:
            raise ValueError(f"temperature: expected a positive number, got {temperature}")
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
            embeddings: per level [N, c, x, y, z], from `project`.
            labels: [N, X, Y, Z], `IGNORED` where a voxel takes no part.
            vectors: text vectors [C, A, E].
            deepest: text anchors of the deepest level from a text head, else None.
            generator: source of the random voxels.
        """
        total = labels.new_zeros((), dtype=torch.float32)
        levels = zip(embeddings, self.anchors(vectors, deepest), self.samples, strict=True)
        for features, text, samples in levels:
            small = resize_labels(labels, features.shape[2:])
            rows, classes = sample_rows(features, small, samples, len(text), generator)
            text_classes = torch.arange(len(text), device=classes.device).repeat_interleave(
                text.shape[1]
            )
            rows = torch.cat([rows.float(), text.flatten(0, 1).float()])
            total = total + contrast(rows, torch.cat([classes, text_classes]), self.temperature)
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
        Rows [R, c] and their classes [R]. The number of rows depends on the labels; a host that
        asked a GPU for it would wait for the whole step. So on a GPU the number is the largest
        possible one, N min(C samples, voxels), and rows without a voxel have the class `IGNORED`.
    """
    voxels = labels[0].numel()
    class_of = labels.flatten()
    volume = torch.arange(len(labels), device=labels.device)[:, None].expand(-1, voxels)
    group = torch.where(class_of >= 0, volume.flatten() * classes + class_of, len(labels) * classes)
    precision = torch.float32 if class_of.device.type == "mps" else torch.float64
    key = torch.rand(class_of.shape, generator=generator, device=class_of.device, dtype=precision)
    # Voxels in random order, then sorted stably by (volume, class): the first `samples` of every
    # group are a random choice without replacement, and no group needs a loop.
    shuffled = key.argsort()
    order = shuffled[group[shuffled].argsort(stable=True)]
    groups = torch.arange(len(labels) * classes, device=order.device)
    sorted_group = group[order]
    first = torch.searchsorted(sorted_group, groups)[:, None]
    stop = torch.searchsorted(sorted_group, groups, right=True)[:, None]
    places = first + torch.arange(samples, device=order.device)
    valid = (places < stop).flatten()
    chosen = order[places.flatten().clamp(max=len(order) - 1)]
    if _counts_are_free(labels.device):
        chosen = chosen[valid]
        drawn = class_of[chosen]
    else:
        drawn = class_of[chosen].masked_fill(~valid, IGNORED)
        if voxels < classes * samples:  # more places than voxels: valid ones first, cut the rest
            front = (~valid).to(torch.uint8).argsort(stable=True)[: len(labels) * voxels]
            chosen, drawn = chosen[front], drawn[front]
    return features.permute(0, 2, 3, 4, 1).reshape(-1, features.shape[1])[chosen], drawn


def _counts_are_free(device: torch.device) -> bool:
    """Whether the host knows a tensor's values without waiting for a device."""
    return device.type == "cpu"


def contrast(rows: Tensor, classes: Tensor, temperature: float = 0.07) -> Tensor:
    """Supervised contrastive loss, mean over all rows; memory is linear in R.

    With s = cos / temperature, for row i: the mean over positives j (same class, j != i) of
    -ln(e^s_ij / (e^s_ij + sum over other classes m of e^s_im)).

    Args:
        rows: [R, c], any length; they are normalized here.
        classes: class of every row, [R]; rows of the class `IGNORED` take no part.
    """
    if _counts_are_free(rows.device):
        rows, classes = rows[classes >= 0], classes[classes >= 0]
    # Sorted by class, the positives of a block of rows are neighbors of the block.
    order = classes.argsort(stable=True)
    return _Contrast.apply(F.normalize(rows[order], dim=1), classes[order], temperature)


class _Contrast(torch.autograd.Function):
    """Contrast of unit rows [R, c] sorted by class, in blocks of rows of the R x R similarities.

    The backward pass recomputes the similarities: keeping them would take R^2 numbers, 10 GB for
    105 classes. With e_ij = e^s_ij, N_i the sum of e over negatives, a_i = 1 / (positives of i) and
    the loss sum_i a_i sum_j (ln(e_ij + N_i) - s_ij) / R over positives j, its gradient by s is
        positive j: - (a_i / R) N_i / (e_ij + N_i)
        negative m:   (a_i / R) e_im sum_j 1 / (e_ij + N_i)
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, classes: Tensor, temperature: float) -> Tensor:
        counted = (classes >= 0).to(rows.dtype)
        weights = counted / counted.sum()
        means = rows.new_empty(len(rows))
        negatives = rows.new_empty(len(rows))
        with torch.autocast(rows.device.type, enabled=False):
            for block, span in _blocks(rows, classes):
                powers, scores, positive = _similarities(rows, classes, temperature, block, span)
                negatives[block] = powers.sum(1)
                terms = scores - (scores.exp() + negatives[block, None]).log()
                sums = terms.masked_fill(~positive, 0).sum(1)
                means[block] = sums / (positive.sum(1) + 1e-5)
        ctx.save_for_backward(rows, classes, weights, negatives)
        ctx.temperature = temperature
        return -means @ weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        rows, classes, weights, negatives = ctx.saved_tensors
        to_rows = torch.zeros_like(rows)
        with torch.autocast(rows.device.type, enabled=False):
            for block, span in _blocks(rows, classes):
                powers, scores, positive = _similarities(
                    rows, classes, ctx.temperature, block, span
                )
                each = (weights[block] / (positive.sum(1) + 1e-5))[:, None]
                below = (scores.exp() + negatives[block, None]).reciprocal()
                below = below.masked_fill_(~positive, 0)
                to_scores = powers.mul_(each * below.sum(1, keepdim=True))
                to_scores[:, span] -= each * negatives[block, None] * below
                # s_ij depends on row i and on row j: both get their part.
                to_rows[block] += to_scores @ rows
                to_rows.addmm_(to_scores.mT, rows[block])
        return to_rows.mul_(gradient / ctx.temperature), None, None


def _blocks(rows: Tensor, classes: Tensor) -> Iterator[tuple[slice, slice]]:
    """Blocks of rows, and the rows among which the positives of each block are."""
    on_host = _counts_are_free(rows.device)
    height = max((_BLOCK_CPU if on_host else _BLOCK_GPU) // max(len(rows), 1), 1)
    for start in range(0, len(rows), height):
        block = slice(start, min(start + height, len(rows)))
        if not on_host:  # where classes change is known on the device alone
            yield block, slice(0, len(rows))
            continue
        ends = classes[[block.start, block.stop - 1]]
        first, stop = (
            torch.searchsorted(classes, ends),
            torch.searchsorted(classes, ends, right=True),
        )
        yield block, slice(int(first[0]), int(stop[1]))


def _similarities(
    rows: Tensor, classes: Tensor, temperature: float, block: slice, span: slice
) -> tuple[Tensor, Tensor, Tensor]:
    """Of a block of rows [b]: e^s of negatives, else 0 [b, R]; s and positives in the span [b, S].

    All s are lowered by their largest value, 1 / temperature (a row with itself), so that no power
    overflows; loss and gradient depend on differences alone.
    """
    scores = (rows[block] @ rows.mT).sub_(1).div_(temperature)
    same = classes[block, None] == classes[span]
    positive = same & (classes[block, None] >= 0)
    positive.diagonal(block.start - span.start).fill_(False)  # a row is no positive of itself
    near = scores[:, span].clone()
    powers = scores.exp_()
    powers[:, span].masked_fill_(same | (classes[span] < 0), 0)
    return powers, near, positive
