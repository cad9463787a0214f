"""Segmentation heads: one convolution, or pointwise networks generated from text and image.

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
FORMS = ("published", "linear")
_AMPERE = (8, 0)  # the first GPUs whose tensor cores take bfloat16
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 4e-2, torch.bfloat16: 1e-1}  # relative error
_INNER = 8  # channels inside the generated head: 8 -> 8 -> 8 -> 1
_CHUNK_CPU, _CHUNK_GPU = 2**10, 2**18  # voxels per chunk: hidden layers exist for one chunk only
PARAMETERS = 2 * _INNER * _INNER + _INNER + 2 * _INNER + 1  # 153 numbers per class


class ConvHead(nn.Conv3d):
    """One 1x1x1 convolution from the decoded features to the logits of all classes."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(width, classes, 1)

    def forward(
        self, decoded: Tensor, deep: Sequence[Tensor] = (), vectors: Tensor | None = None
    ) -> Tensor:
        """Logits [B, C, x, y, z]; deep features and text are ignored."""
        return super().forward(decoded)


class TextHead(nn.Module):
    """Text-driven segmentation head: a small pointwise network is generated per image and class.

    Frozen text vectors are projected to a class code, pooled features of the three deepest levels
    to an image code; a linear controller maps both to 153 weights of three layers 8-8-8-1
    (TAK, 2025, arXiv 2501.13470; head of the CLIP-Driven Universal Model, 2023, arXiv 2301.00785).

    Args:
        width: channels of the decoded features.
        deep_widths: channels of the three deepest levels.
        aspects, text_width: A and E of the text vectors, which the network keeps.
        kernel: of the generated networks, `auto` or `plain`; see `apply_generated`.
        form: `published`, as above, or `linear`: one generated weight per decoded feature and a
            bias, from class codes of length 1, which starts and learns as a convolution does. It
            has no image code: that would add the same to all classes, and softmax cancels it.
    """

    def __init__(
        self,
        width: int,
        deep_widths: Sequence[int],
        aspects: int,
        text_width: int,
        *,
        kernel: str = "auto",
        form: str = "published",
    ) -> None:
        super().__init__()
        if kernel not in KERNELS:
            raise LookupError(f"no kernel {kernel!r}; there is {', '.join(KERNELS)}")
        if form not in FORMS:
            raise LookupError(f"no form {form!r} of a text head; there is {', '.join(FORMS)}")
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
            nn.GroupNorm(gcd(16, width), width), nn.ReLU(), nn.Conv3d(width, _INNER, 1)
        )

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
            classes[None].expand(len(image), -1, -1),
        ]
        return self.controller(torch.cat(codes, dim=-1))

    def forward(
        self,
        decoded: Tensor,
        deep: Sequence[Tensor],
        vectors: Tensor,
        codes: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, C, x, y, z] of decoded features [B, width, x, y, z] and text [C, A, E].

        `codes` are the class codes [C, Q] of another head; by default those of `vectors`.
        """
        codes = self.class_codes(vectors) if codes is None else codes
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
        if norm.num_groups < norm.num_channels:
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


def apply_generated(features: Tensor, parameters: Tensor, *, kernel: str = "auto") -> Tensor:
    """Run the generated networks pointwise: z = w3 ReLU(W2 ReLU(W1 h + b1) + b2) + b3.

    All classes share the features, so layer 1 is one matrix of 8 C rows and nothing is copied per
    class. Voxels are processed in chunks and hidden layers recomputed in the backward pass: memory
    beyond input and output does not grow with the volume.

    Args:
        features: [B, 8, x, y, z].
        parameters: [B, C, 153], laid out as W1, W2, w3, b1, b2, b3.
        kernel: `plain`, batched products of torch, or `auto`: Triton kernels on CUDA devices from
            Ampere on if Triton is installed and a self-test passes, else `plain`.

    Returns:
        Logits [B, C, x, y, z], in the precision of the features.
    """
    pointwise = _Pointwise.apply
    if kernel == "auto" and _triton_works(features.device, features.dtype):
        from segmentation.networks.head_triton import PointwiseOnGPU

        pointwise = PointwiseOnGPU.apply
    logits = pointwise(features.flatten(2), parameters.to(features.dtype))
    return logits.unflatten(2, features.shape[2:])


@cache
def _triton_works(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the Triton kernels run on a device and agree with the plain products there.

    They depend on driver, compiler and GPU, so a small example is computed both ways first, once
    per device and precision; a disagreement is a warning, and plain products are used.
    """
    if device.type != "cuda" or dtype not in _TOLERANCE or find_spec("triton") is None:
        return False
    if torch.cuda.get_device_capability(device) < _AMPERE:
        return False
    error = _triton_error(device, dtype)
    if error:
        warnings.warn(
            f"the Triton kernels of the text head do not work on {device} in {dtype}: {error}; "
            "plain products are used instead, which is right but slower "
            "(head.kernel=plain does so without this warning)",
            stacklevel=2,
        )
    return error is None


@torch.enable_grad()
def _triton_error(device: torch.device, dtype: torch.dtype) -> str | None:
    """The first error of the Triton kernels on 300 voxels and 3 classes, None if they agree."""
    generator = torch.Generator().manual_seed(0)
    shapes = (2, _INNER, 300), (2, 3, PARAMETERS), (2, 3, 300)
    points, parameters, gradient = (
        torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes
    )
    results = []
    try:
        from segmentation.networks.head_triton import PointwiseOnGPU

        for function, precision in ((PointwiseOnGPU, dtype), (_Pointwise, torch.float32)):
            leaves = [part.detach().to(precision).requires_grad_() for part in (points, parameters)]
            with torch.autocast(device.type, enabled=False):
                logits = function.apply(*leaves)
            results.append([logits, *torch.autograd.grad(logits, leaves, gradient.to(precision))])
    except Exception as fault:  # compilers, drivers and launchers raise any type
        return f"{type(fault).__name__}: {fault}"
    names = ("logits", "gradient of the features", "gradient of the weights")
    for name, actual, expected in zip(names, *results, strict=True):
        error = float(((actual.float() - expected).norm() / expected.norm()).detach())
        if not error < _TOLERANCE[dtype]:
            return f"the {name} have a relative error of {error:.1g}"
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
        """Split parameters [C, 153] into the weights and biases of the three layers."""
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
    """Features [B, 8, V] and parameters [B, C, 153] to logits [B, C, V], chunk by chunk.

    The backward pass recomputes the hidden layers of a chunk; autograd would keep them for all
    voxels, 2 x 8 C numbers each.
    """

    @staticmethod
    def forward(ctx: Any, points: Tensor, parameters: Tensor) -> Tensor:
        ctx.save_for_backward(points, parameters)
        batch, classes, _ = parameters.shape
        logits = points.new_empty(batch, classes, points.shape[-1])
        for image, generated, output in zip(points, parameters, logits, strict=True):
            layers = _Layers.of(generated)
            for chunk in _chunks(points):
                _, second = layers.hidden(image[:, chunk])
                output[:, chunk] = torch.baddbmm(layers.b3, layers.w3, second)[:, 0]
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        points, parameters = ctx.saved_tensors
        to_points = torch.empty_like(points)
        to_parameters = torch.empty_like(parameters)
        for image, generated in enumerate(parameters):
            layers = _Layers.of(generated)
            # Weight gradients are sums over all voxels: in fp32 whatever the features' precision.
            sums = [torch.zeros_like(part, dtype=torch.float32) for part in layers]
            for chunk in _chunks(points):
                to_points[image, :, chunk] = _backward_chunk(
                    layers, points[image, :, chunk], gradient[image, :, chunk], sums
                )
            parts = [part.reshape(len(generated), -1) for part in sums]
            to_parameters[image] = torch.cat(parts, dim=-1)
        return to_points, to_parameters


def _backward_chunk(
    layers: _Layers, points: Tensor, gradient: Tensor, sums: list[Tensor]
) -> Tensor:
    """The gradient of the points of one chunk; those of weights and biases are added to `sums`."""
    first, second = layers.hidden(points)
    g3 = gradient[:, None]
    to_w3 = g3 @ second.mT
    g2 = _through_relu(layers.w3.mT * g3, second)
    to_w2 = g2 @ first.mT
    g1 = _through_relu(layers.w2.mT @ g2, first).flatten(0, 1)
    to_w1 = (points @ g1.mT).mT  # twice as fast as g1 @ points.mT
    biases = (part.sum(-1, keepdim=True, dtype=torch.float32) for part in (g1, g2, g3))
    for total, part in zip(sums, (to_w1, to_w2, to_w3, *biases), strict=True):
        total += part
    return layers.w1.mT @ g1


# The gradient where ReLU's output is positive, else 0, written over that output: no new memory, and
# ten times faster on a CPU than a product with a boolean mask.
_relu_backward = torch.ops.aten.threshold_backward.grad_input


def _through_relu(gradient: Tensor, output: Tensor) -> Tensor:
    return _relu_backward(gradient, output, 0, grad_input=output)


def _chunks(points: Tensor) -> Iterator[slice]:
    """Slices of the voxels, so short that the hidden layers of one fit a CPU's cache."""
    size = _CHUNK_CPU if points.device.type == "cpu" else _CHUNK_GPU
    for start in range(0, points.shape[-1], size):
        yield slice(start, start + size)
