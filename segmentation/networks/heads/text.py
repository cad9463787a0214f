"""The text-driven head: pointwise networks generated from text and image.

Legend of shapes: B batch, C classes, A aspects, E text width, Q class code width.
"""

from collections.abc import Sequence
from math import gcd
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segmentation.common.suggest import unknown
from segmentation.networks.heads.base.generated import INNER, PARAMETERS, Kernel, apply_generated
from segmentation.networks.heads.base.head import Head, HeadInputs
from segmentation.networks.instance_norm import instance_norm_relu

Form = Literal["published", "linear"]
KERNELS, FORMS = get_args(Kernel), get_args(Form)


class TextHead(Head):
    """Text-driven segmentation head: a small pointwise network is generated per image and class.

    Frozen text vectors are projected to a class code, pooled features of the three deepest levels
    to an image code; a linear controller maps both to 153 weights of three layers 8-8-8-1
    (TAK, 2025, arXiv 2501.13470; head of the CLIP-Driven Universal Model, 2023, arXiv 2301.00785).

    Args:
        width: channels of the decoded features.
        deep_widths: channels of the three deepest levels.
        aspects, text_width: A and E of the text vectors, which the network keeps.
        kernel: of the generated networks: `auto` uses Triton kernels on CUDA, `plain` never does.
        form: `published`, as above, or `linear`: one generated weight per decoded feature and a
            bias, from class codes of length 1, which starts and learns as a convolution does. It
            has no image code: that would add the same to all classes, and softmax cancels it.
    """

    reads_text = True
    projects_text = True

    def __init__(
        self,
        width: int,
        deep_widths: Sequence[int],
        aspects: int,
        text_width: int,
        *,
        kernel: Kernel = "auto",
        form: Form = "published",
    ) -> None:
        super().__init__()
        if kernel not in KERNELS:
            raise LookupError(unknown("kernel", kernel, tuple(KERNELS)))
        if form not in FORMS:
            raise LookupError(unknown("form", form, tuple(FORMS), "of a text head"))
        self.kernel, self.form = kernel, form
        code = deep_widths[-1]
        self.project = nn.Sequential(nn.Linear(text_width, code), nn.ReLU())
        self.combine = nn.Sequential(nn.Linear(aspects * code, code), nn.ReLU())
        if form == "linear":
            self.controller = _linear_controller(code, width)
            return
        self.pool = nn.ModuleList(PooledCode(channels, code) for channels in deep_widths)
        self.controller = nn.Linear(2 * code, PARAMETERS)
        self.prepare = nn.Sequential(
            nn.GroupNorm(gcd(16, width), width), nn.ReLU(), nn.Conv3d(width, INNER, 1)
        )

    @classmethod
    def build(cls, inputs: HeadInputs, **options: Any) -> Self:
        """The head of a network; see `Head.build`."""
        return cls(inputs.width, inputs.deep_widths, inputs.aspects, inputs.text_width, **options)

    def aspect_codes(self, vectors: Tensor) -> Tensor:
        """Text vectors [C, A, E], each projected: [C, A, Q]."""
        return self.project(vectors)

    def class_codes(self, vectors: Tensor) -> Tensor:
        """One code per class from all its aspects: [C, A, E] -> [C, Q]; length 1 if linear."""
        codes = self.combine(self.aspect_codes(vectors).flatten(1))
        # Generated weights learn at a rate proportional to the squared length of the codes: length
        # 1 gives them the rate of a convolution's own weights, and keeps it.
        return F.normalize(codes, dim=1) if self.form == "linear" else codes

    def image_code(self, deep: Sequence[Tensor]) -> Tensor:
        """One code per image, the mean over three levels: [B, Q]."""
        codes = [pool(level) for pool, level in zip(self.pool, deep, strict=True)]
        return torch.stack(codes).mean(0)

    def generated(self, deep: Sequence[Tensor], classes: Tensor) -> Tensor:
        """Weights of the generated networks, [B, C, 153], from class codes [C, Q].

        In the linear form [1, C, width + 1], the same for every image.
        """
        if self.form == "linear":
            return self.controller(classes)[None]
        image = self.image_code(deep)
        codes = [
            image[:, None].expand(-1, len(classes), -1),
            classes[None].expand(image.shape[0], -1, -1),
        ]
        return self.controller(torch.cat(codes, dim=-1))

    def forward(
        self,
        decoded: Tensor,
        deep: Sequence[Tensor],
        vectors: Tensor | None,
        codes: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, C, x, y, z] of decoded features [B, width, x, y, z] and text [C, A, E].

        `codes` are the class codes [C, Q] of another head; by default those of `vectors`.
        """
        if codes is None:
            assert vectors is not None, "a network with this head has text vectors"
            codes = self.class_codes(vectors)
        if self.form == "linear":
            weight, bias = self.controller(codes).split([decoded.shape[1], 1], dim=1)
            return F.conv3d(decoded, weight[..., None, None, None], bias.flatten())
        points, parameters = self._prepared(decoded), self.generated(deep, codes)
        return apply_generated(points, parameters, kernel=self.kernel)

    def _prepared(self, decoded: Tensor) -> Tensor:
        """`prepare`, with a fused norm where every group is one channel: [B, 8, x, y, z]."""
        norm, narrow = self.prepare[0], self.prepare[2]
        assert isinstance(norm, nn.GroupNorm)
        assert isinstance(narrow, nn.Conv3d)
        assert narrow.bias is not None
        if norm.num_groups < norm.num_channels or torch.compiler.is_exporting():
            return self.prepare(decoded)
        # GroupNorm of one channel per group is instance norm; the 1x1x1 convolution as a matrix
        # product gives the layout that `apply_generated` reads, without a copy.
        normed = instance_norm_relu(decoded, norm.weight, norm.bias)
        weight = narrow.weight.flatten(1).expand(len(normed), -1, -1)
        points = torch.baddbmm(narrow.bias[:, None], weight, normed.flatten(2))
        return points.unflatten(2, decoded.shape[2:])


def _linear_controller(code: int, width: int) -> nn.Linear:
    """From codes of length 1 to weights as spread as those of a new convolution, and a bias of 0.

    nn.Linear's own initialization would make weights near 0, from which the V-Net learns nothing.
    """
    controller = nn.Linear(code, width + 1)
    nn.init.normal_(controller.weight[:-1], std=(3 * width) ** -0.5)
    nn.init.zeros_(controller.weight[-1])
    nn.init.zeros_(controller.bias)
    return controller


class PooledCode(nn.Module):
    """GroupNorm, ReLU, global average pool and a linear map: [B, c, x, y, z] -> [B, Q]."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(gcd(16, channels), channels)
        self.linear = nn.Linear(channels, code)

    def forward(self, features: Tensor) -> Tensor:
        """One code per image."""
        return self.linear(F.relu(self.norm(features)).flatten(2).mean(2))
