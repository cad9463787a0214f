"""Pointwise networks with generated weights: batched products, or Triton kernels on a GPU.

Legend of shapes: B batch, C classes, V voxels.
"""

import warnings
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Kernel = Literal["auto", "plain"]
_AMPERE = (8, 0)  # the first GPUs whose tensor cores take bfloat16
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 4e-2, torch.bfloat16: 1e-1}  # relative error
INNER = 8  # channels inside the generated head: 8 -> 8 -> 8 -> 1
_CHUNK_CPU, _CHUNK_GPU = 2**10, 2**18  # voxels per chunk: hidden layers exist for one chunk only
_SIZES = [INNER * INNER, INNER * INNER, INNER, INNER, INNER, 1]  # of W1, W2, w3, b1, b2, b3
PARAMETERS = sum(_SIZES)  # 153 numbers per class


def apply_generated(features: Tensor, parameters: Tensor, *, kernel: Kernel = "auto") -> Tensor:
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
    if torch.compiler.is_exporting():  # an exported program has standard operators only
        return _exported(features.flatten(2), parameters).unflatten(2, features.shape[2:])
    pointwise = _Pointwise.apply
    if kernel == "auto" and _triton_works(features.device, features.dtype):
        from segmentation.networks.head_triton import PointwiseOnGPU

        pointwise = PointwiseOnGPU.apply
    logits = pointwise(features.flatten(2), parameters.to(features.dtype))
    return logits.unflatten(2, features.shape[2:])


def _exported(points: Tensor, parameters: Tensor) -> Tensor:
    """Points [B, 8, V] and parameters [B, C, 153] to logits [B, C, V], in one piece."""
    inner = INNER
    w1, w2, w3, b1, b2, b3 = parameters.split(_SIZES, dim=-1)
    points = points[:, None]
    first = (w1.unflatten(2, (inner, inner)) @ points + b1[..., None]).relu()
    second = (w2.unflatten(2, (inner, inner)) @ first + b2[..., None]).relu()
    return (w3[:, :, None] @ second + b3[..., None])[:, :, 0]


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
    shapes = (2, INNER, 300), (2, 3, PARAMETERS), (2, 3, 300)
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
        inner = INNER
        w1, w2, w3, b1, b2, b3 = parameters.split(_SIZES, dim=-1)
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
        first = torch.addmm(self.b1, self.w1, points).relu_().view(len(self.w2), INNER, -1)
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
