"""Alignment by Gaussian class proxies (SCDL, CVPR 2026), anchored to labels, to text or to both.

Legend of shapes: N volumes, T tokens (voxels of a level, over all volumes), C classes, D width.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segmentation.networks.alignments.base.alignment import Alignment
from segmentation.networks.alignments.contrast import VisualProjection

ANCHORS = ("labels", "text", "both")


class Proxies(Alignment):
    """Every class has a Gaussian proxy per level that attracts its tokens and repels others.

    With a the mean cosine of a token's embedding with S samples of a proxy, w the share of the
    class in the token's (pseudo-)labels, and m the proxy's mean, the loss of a level is

        mean_c mean_l exp(a - 2 w a) + 0.1 mean_l sum_c w (1 - a) + anchor,
        anchor = mean_c 1 - cos(m_c, anchor of c)

    The anchor of a class is the mean of its tokens (`labels`; only proxies move), a projection of
    its text (`text`), or the mean of both terms. With random vectors in the place of the text, loss
    and parameters stay the same and only the target differs.

    The published form has one level of pooled decoder features, and shares w of unlabeled tokens
    from two softmaxes of the same cosines; here they are the shares of pseudo-labels. Its feedback
    of the proxies into the bottleneck is left out: its training code is not published.

    Args:
        deep_widths: channels of the three deepest levels, finest first.
        text_width: E of the text vectors.
        own_deepest: whether this module has a text projection of the deepest level.
        classes: C, background included.
        weight: factor of the sum over levels.
        start: share of the run after which the term is used.
        draws: S, samples of every proxy in a step.
        anchors: `labels`, `text` or `both`.
    """

    class_rows: ClassVar[tuple[str, ...]] = ("means", "spreads")

    def __init__(
        self,
        deep_widths: Sequence[int],
        text_width: int,
        *,
        own_deepest: bool,
        classes: int,
        weight: float = 0.1,
        start: float = 21 / 161,
        draws: int = 50,
        anchors: str = "both",
    ) -> None:
        super().__init__(deep_widths, text_width, own_deepest=own_deepest, classes=classes)
        if draws < 1:
            raise ValueError(f"draws: expected at least 1, got {draws}")
        if anchors not in ANCHORS:
            raise ValueError(f"anchors: expected one of {', '.join(ANCHORS)}, got {anchors!r}")
        self.weight, self.start = weight, start
        self.draws, self.kinds = draws, ANCHORS[:2] if anchors == "both" else (anchors,)
        self.visual = nn.ModuleList(VisualProjection(width) for width in deep_widths)
        self.means = nn.ParameterList(
            nn.init.xavier_normal_(torch.empty(classes, width)) for width in deep_widths
        )
        self.spreads = nn.ParameterList(
            nn.init.xavier_normal_(torch.empty(classes, width)) for width in deep_widths
        )
        projected = deep_widths if own_deepest else deep_widths[:-1]
        self.text = nn.ModuleList(
            nn.Linear(text_width, width) for width in (projected if "text" in self.kinds else ())
        )

    def project(self, deep: Sequence[Tensor]) -> list[Tensor]:
        """Embeddings of the three deepest levels, same shapes."""
        return [visual(level) for visual, level in zip(self.visual, deep, strict=True)]

    def forward(
        self,
        embeddings: Sequence[Tensor],
        labels: Tensor,
        vectors: Tensor,
        deepest: Tensor | None,
        generator: torch.Generator,
    ) -> Tensor:
        """The weighted sum over the levels; see `Alignment.forward`."""
        total = labels.new_zeros((), dtype=torch.float32)
        rows = [text(vectors).mean(1) for text in self.text]
        if deepest is not None and "text" in self.kinds:
            rows.append(deepest.mean(1))
        levels = zip_longest(embeddings, self.means, self.spreads, rows)
        for features, mean, spread, text in levels:
            tokens = features.float().permute(0, 2, 3, 4, 1).flatten(0, 3)
            shares = token_shares(labels, features.shape[2:], len(mean))
            samples = self._samples(mean, spread, generator)
            total = total + assignment_loss(F.normalize(tokens, dim=1) @ samples.mT, shares)
            total = total + self._anchor(mean, tokens, shares, text)
        return self.weight * total

    def _samples(self, mean: Tensor, spread: Tensor, generator: torch.Generator) -> Tensor:
        """The mean of unit samples of every proxy [C, D]: cosines are linear in them."""
        shape = (self.draws, *mean.shape)
        noise = torch.randn(shape, generator=generator, device=mean.device)
        return F.normalize(mean + F.softplus(spread) * noise, dim=2).mean(0)

    def _anchor(self, mean: Tensor, tokens: Tensor, shares: Tensor, text: Tensor | None) -> Tensor:
        """1 - cos of every proxy with its anchor, mean over classes."""
        terms = []
        if "labels" in self.kinds:
            mass = shares.sum(0)
            centers = shares.mT @ tokens.detach()
            lost = (1 - F.cosine_similarity(mean, centers, dim=1)) * (mass > 0)
            terms.append(lost.sum() / (mass > 0).sum().clamp(min=1))
        if text is not None:
            terms.append((1 - F.cosine_similarity(mean, text.float(), dim=1)).mean())
        return torch.stack(terms).mean()


def token_shares(labels: Tensor, shape: Sequence[int], classes: int) -> Tensor:
    """Share of every class in the labeled voxels of every token [T, C]; zeros without such voxels.

    Args:
        labels: [N, X, Y, Z]; negative ones are not counted.
        shape: x, y, z of the level.
    """
    place = torch.zeros((), dtype=torch.int64, device=labels.device)
    for axis, (size, side) in enumerate(zip(shape, labels.shape[1:], strict=True), start=1):
        index = torch.arange(side, device=labels.device) * size // side
        place = place * size + index.view([-1 if axis == each else 1 for each in range(4)])
    tokens = shape[0] * shape[1] * shape[2]
    volume = torch.arange(len(labels), device=labels.device).view(-1, 1, 1, 1)
    cell = (volume * tokens + place) * classes + labels.clamp(min=0)
    counts = torch.zeros(len(labels) * tokens * classes, device=labels.device)
    counts = counts.index_add(0, cell.flatten(), (labels >= 0).float().flatten())
    counts = counts.view(-1, classes)
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


def assignment_loss(cosines: Tensor, shares: Tensor) -> Tensor:
    """mean_c mean_l exp(a - 2 w a) + 0.1 mean_l sum_c w (1 - a) over tokens with a label.

    Args:
        cosines: a [T, C], mean cosines of tokens with the samples of every proxy.
        shares: w [T, C].
    """
    counted = shares.sum(1) > 0
    tokens = counted.sum().clamp(min=1)
    attract = (cosines - 2 * shares * cosines).exp().mean(1) * counted
    own = (shares * (1 - cosines)).sum(1) * counted
    return (attract.sum() + 0.1 * own.sum()) / tokens
