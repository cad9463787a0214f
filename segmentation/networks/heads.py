"""From decoded features to class logits: one convolution, or weights that text and image generate.

Legend of shapes: B batch, C classes, A aspects, E text width, Q class code width, V voxels.
"""

import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from math import gcd
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from segmentation.networks.instance_norm import instance_norm_relu

KERNELS = ("auto", "plain")
_AMPERE = (8, 0)  # the first GPUs whose tensor cores take bfloat16
_BOUND = {torch.float32: 1e-4, torch.float16: 4e-2, torch.bfloat16: 1e-1}  # of rounding
_INNER = 8  # channels inside the generated head: 8 -> 8 -> 8 -> 1
_CHUNK_CPU, _CHUNK_GPU = 2**10, 2**18  # voxels whose hidden layers exist at a time
PARAMETERS = 2 * _INNER * _INNER + _INNER + 2 * _INNER + 1  # 153 numbers per class


class ConvHead(nn.Conv3d):
    """One 1x1x1 convolution from the decoded features to the logits of all classes."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(width, classes, 1)

    def forward(
        self, decoded: Tensor, deep: Sequence[Tensor] = (), vectors: Tensor | None = None
    ) -> Tensor:
        """Logits [B, C, x, y, z]; neither deep features nor text are read."""
        return super().forward(decoded)


class TextHead(nn.Module):
    """A small network per image and class, whose weights come from its text and the image.

    Frozen text vectors give a class code, globally pooled features of the three deepest levels an
    image code; a linear controller turns both into 153 numbers, three pointwise layers 8-8-8-1
    (TAK, 2025, arXiv 2501.13470; head of the CLIP-Driven Universal Model, 2023, arXiv 2301.00785).

    Args:
        width: channels of the decoded features.
        deep_widths: channels of the three deepest levels.
        aspects, text_width: A and E of the text vectors, which the network keeps.
        kernel: of the generated networks, `auto` or `plain`; see `apply_generated`.
    """

    def __init__(
        self,
        width: int,
        deep_widths: Sequence[int],
        aspects: int,
        text_width: int,
        *,
        kernel: str = "auto",
    ) -> None:
        super().__init__()
        if kernel not in KERNELS:
            raise LookupError(f"no kernel {kernel!r}; there is {', '.join(KERNELS)}")
        self.kernel = kernel
        code = deep_widths[-1]
        self.project = nn.Sequential(nn.Linear(text_width, code), nn.ReLU())
        self.combine = nn.Sequential(nn.Linear(aspects * code, code), nn.ReLU())
        self.pool = nn.ModuleList(PooledCode(channels, code) for channels in deep_widths)
        self.controller = nn.Linear(2 * code, PARAMETERS)
        self.prepare = nn.Sequential(
            nn.GroupNorm(gcd(16, width), width), nn.ReLU(), nn.Conv3d(width, _INNER, 1)
        )

    def aspect_codes(self, vectors: Tensor) -> Tensor:
        """Text vectors [C, A, E], each projected: [C, A, Q]."""
        return self.project(vectors)

    def class_codes(self, vectors: Tensor) -> Tensor:
        """One code per class from all its aspects: [C, A, E] -> [C, Q]."""
        return self.combine(self.aspect_codes(vectors).flatten(1))

    def image_code(self, deep: Sequence[Tensor]) -> Tensor:
        """One code per image, the mean over three levels: [B, Q]."""
        codes = [pool(level) for pool, level in zip(self.pool, deep, strict=True)]
        return torch.stack(codes).mean(0)

    def generated(self, deep: Sequence[Tensor], classes: Tensor) -> Tensor:
        """The weights of the small networks: [B, C, 153], of class codes [C, Q]."""
        image = self.image_code(deep)
        pairs = [
            image[:, None].expand(-1, len(classes), -1),
            classes[None].expand(len(image), -1, -1),
        ]
        return self.controller(torch.cat(pairs, dim=-1))

    def forward(
        self,
        decoded: Tensor,
        deep: Sequence[Tensor],
        vectors: Tensor,
        codes: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, C, x, y, z] of decoded features [B, width, x, y, z] and text [C, A, E].

        `codes` are the class codes [C, Q] of another head; by default they are made of `vectors`.
        """
        codes = self.class_codes(vectors) if codes is None else codes
        points, parameters = self._prepared(decoded), self.generated(deep, codes)
        return apply_generated(points, parameters, kernel=self.kernel)

    def _prepared(self, decoded: Tensor) -> Tensor:
        """`prepare`, with a faster norm where every group is one channel: [B, 8, x, y, z]."""
        norm, narrow = self.prepare[0], self.prepare[2]
        assert isinstance(norm, nn.GroupNorm)
        assert isinstance(narrow, nn.Conv3d)
        assert narrow.bias is not None
        if norm.num_groups < norm.num_channels:
            return self.prepare(decoded)
        ready = instance_norm_relu(decoded, norm.weight, norm.bias)
        weight = narrow.weight.flatten(1).expand(len(ready), -1, -1)
        points = torch.baddbmm(narrow.bias[:, None], weight, ready.flatten(2))
        return points.unflatten(2, decoded.shape[2:])


class PooledCode(nn.Module):
    """GroupNorm, ReLU, global average pool and a linear map: [B, c, x, y, z] -> [B, Q]."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(gcd(16, channels), channels)
        self.linear = nn.Linear(channels, code)

    def forward(self, features: Tensor) -> Tensor:
        """One code per image."""
        return self.linear(F.relu(self.norm(features)).flatten(2).mean(2))


def apply_generated(features: Tensor, parameters: Tensor, *, kernel: str = "auto") -> Tensor:
    """Run the generated networks pointwise: z = w3 ReLU(W2 ReLU(W1 h + b1) + b2) + b3.

    All classes share the features, so layer 1 is one matrix of 8 C rows and nothing is copied per
    class. Voxels are taken chunk by chunk and the hidden layers made again in the backward pass:
    memory beyond input and output does not grow with the volume.

    Args:
        features: [B, 8, x, y, z].
        parameters: [B, C, 153], laid out as W1, W2, w3, b1, b2, b3.
        kernel: `plain`, batched products of torch, or `auto`, which takes Triton kernels on a CUDA
            device from Ampere on where Triton is installed and a small example comes out right,
            and `plain` elsewhere.

    Returns:
        Logits [B, C, x, y, z], in the precision of the features.
    """
    pointwise = _Pointwise.apply
    if kernel == "auto" and _has_kernels(features.device, features.dtype):
        from segmentation.networks.head_triton import PointwiseOnGPU

        pointwise = PointwiseOnGPU.apply
    logits = pointwise(features.flatten(2), parameters.to(features.dtype))
    return logits.unflatten(2, features.shape[2:])


@cache
def _has_kernels(device: torch.device, kind: torch.dtype) -> bool:
    """Whether the Triton kernels run on a device and agree with the plain products there.

    They hang on a driver, a compiler and a GPU that nobody here has seen: a small example is
    computed both ways first, once per device and precision, and a disagreement is warned about.
    """
    if device.type != "cuda" or kind not in _BOUND or find_spec("triton") is None:
        return False
    if torch.cuda.get_device_capability(device) < _AMPERE:
        return False
    fault = _fault(device, kind)
    if fault:
        warnings.warn(
            f"the Triton kernels of the text head do not work on {device} in {kind}: {fault}; "
            "plain products take their place, which is right but slower "
            "(head.kernel=plain does so without this warning)",
            stacklevel=2,
        )
    return fault is None


@torch.enable_grad()
def _fault(device: torch.device, kind: torch.dtype) -> str | None:
    """What the kernels do wrong with 300 voxels and 3 classes; None if nothing."""
    generator = torch.Generator().manual_seed(0)
    shapes = (2, _INNER, 300), (2, 3, PARAMETERS), (2, 3, 300)
    points, parameters, gradient = (
        torch.randn(shape, generator=generator).to(device, kind) for shape in shapes
    )
    results = []
    try:
        from segmentation.networks.head_triton import PointwiseOnGPU

        for function, own in ((PointwiseOnGPU, kind), (_Pointwise, torch.float32)):
            leaves = [part.detach().to(own).requires_grad_() for part in (points, parameters)]
            with torch.autocast(device.type, enabled=False):
                made = function.apply(*leaves)
            results.append([made, *torch.autograd.grad(made, leaves, gradient.to(own))])
    except Exception as error:  # compilers, drivers and launchers raise whatever they like
        return f"{type(error).__name__}: {error}"
    names = ("logits", "gradient of the features", "gradient of the weights")
    for name, found, right in zip(names, *results, strict=True):
        off = float((found.float() - right).norm() / right.norm())
        if not off < _BOUND[kind]:
            return f"the {name} are off by {off:.1g} of their length"
    return None


class _Layers(NamedTuple):
    """Generated weights and biases of one image, shaped for batched products."""

    w1: Tensor  # [8 C, 8]
    w2: Tensor  # [C, 8, 8]
    w3: Tensor  # [C, 1, 8]
    b1: Tensor  # [8 C, 1]
    b2: Tensor  # [C, 8, 1]
    b3: Tensor  # [C, 1, 1]

    @classmethod
    def of(cls, parameters: Tensor) -> "_Layers":
        """The six parts of [C, 153]."""
        inner = _INNER
        sizes = [inner * inner, inner * inner, inner, inner, inner, 1]
        w1, w2, w3, b1, b2, b3 = parameters.split(sizes, dim=-1)
        return cls(
            w1.reshape(-1, inner),
            w2.reshape(-1, inner, inner),
            w3.reshape(-1, 1, inner),
            b1.reshape(-1, 1),
            b2.reshape(-1, inner, 1),
            b3.reshape(-1, 1, 1),
        )

    def hidden(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Both hidden layers after ReLU, [C, 8, V] each, of points [8, V]."""
        first = torch.addmm(self.b1, self.w1, points).relu_().view(len(self.w2), _INNER, -1)
        return first, torch.baddbmm(self.b2, self.w2, first).relu_()


class _Pointwise(torch.autograd.Function):
    """Features [B, 8, V] and parameters [B, C, 153] to logits [B, C, V], chunk by chunk."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, parameters: Tensor) -> Tensor:
        ctx.save_for_backward(points, parameters)
        batch, classes, _ = parameters.shape
        logits = points.new_empty(batch, classes, points.shape[-1])
        for image, own, made in zip(points, parameters, logits, strict=True):
            layers = _Layers.of(own)
            for chunk in _chunks(points):
                _, second = layers.hidden(image[:, chunk])
                made[:, chunk] = torch.baddbmm(layers.b3, layers.w3, second)[:, 0]
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        points, parameters = ctx.saved_tensors
        to_points = torch.empty_like(points)
        to_parameters = torch.empty_like(parameters)
        for place, own in enumerate(parameters):
            layers = _Layers.of(own)
            sums = [torch.zeros_like(part, dtype=torch.float32) for part in layers]
            for chunk in _chunks(points):
                to_points[place, :, chunk] = _back(
                    layers, points[place, :, chunk], gradient[place, :, chunk], sums
                )
            parts = [part.reshape(len(own), -1) for part in sums]
            to_parameters[place] = torch.cat(parts, dim=-1)
        return to_points, to_parameters


def _back(layers: _Layers, points: Tensor, gradient: Tensor, sums: list[Tensor]) -> Tensor:
    """The gradient of the points of one chunk; those of weights and biases go into `sums`."""
    first, second = layers.hidden(points)
    g3 = gradient[:, None]
    to_w3 = g3 @ second.mT
    g2 = _through_relu(layers.w3.mT * g3, second)
    to_w2 = g2 @ first.mT
    g1 = _through_relu(layers.w2.mT @ g2, first).flatten(0, 1)
    to_w1 = (points @ g1.mT).mT  # twice as fast as the product turned round
    biases = (part.sum(-1, keepdim=True, dtype=torch.float32) for part in (g1, g2, g3))
    for total, part in zip(sums, (to_w1, to_w2, to_w3, *biases), strict=True):
        total += part
    return layers.w1.mT @ g1


# Keeps a gradient where ReLU's output is positive, and writes it over that output; ten times faster
# on a CPU than a product with a boolean mask.
_relu_backward = torch.ops.aten.threshold_backward.grad_input


def _through_relu(gradient: Tensor, output: Tensor) -> Tensor:
    return _relu_backward(gradient, output, 0, grad_input=output)


def _chunks(points: Tensor) -> Iterator[slice]:
    """Slices of the voxels: hidden layers of one slice stay in a CPU's cache."""
    size = _CHUNK_CPU if points.device.type == "cpu" else _CHUNK_GPU
    for start in range(0, points.shape[-1], size):
        yield slice(start, start + size)
