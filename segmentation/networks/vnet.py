"""V-Net: an encoder and a decoder with additive skips (Milletari et al., 2016, arXiv 1606.04797).

Legend of shapes: B batch, c channels, `x y z` space in nibabel order.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from segmentation.common.suggest import unknown
from segmentation.networks.instance_norm import instance_norm_relu
from segmentation.networks.narrow_conv import is_narrow, narrow_conv3d

_RECOMPUTED = 2  # number of finest levels under gradient checkpointing: they hold most activations
_CONVOLUTIONS = (1, 2, 3)  # per level; deeper levels repeat the last number


class Unit(nn.Sequential):
    """One convolution, its norm and ReLU; the convolution may halve or double the size."""

    def __init__(self, convolution: nn.Module, channels: int, norm: str) -> None:
        norms = {"instance": nn.InstanceNorm3d, "batch": nn.BatchNorm3d}
        if norm not in norms:
            raise LookupError(unknown("norm", norm, tuple(norms)))
        super().__init__(convolution, norms[norm](channels), nn.ReLU(inplace=True))

    def forward(self, features: Tensor) -> Tensor:
        """Convolved, normalized, negative values set to 0: [B, c, x, y, z]."""
        convolution, norm, relu = self
        if isinstance(convolution, nn.Conv3d) and is_narrow(convolution, features):
            assert convolution.bias is not None
            convolved = narrow_conv3d(features, convolution.weight, convolution.bias)
        else:
            convolved = convolution(features)
        if isinstance(norm, nn.InstanceNorm3d):
            return instance_norm_relu(convolved)
        return relu(norm(convolved))


class VNet(nn.Module):
    """Encoder levels x1 ... xL at 1, 1/2, 1/4 ... resolution with width, 2 width, 4 width ...

    At the published setting (width 16, 5 levels) it has 9,443,232 parameters. The bias in front of
    InstanceNorm has no effect and is kept so that published weights fit.

    Args:
        width: channels of the first level.
        levels: number of resolutions; every side of the input must be a multiple of
            2^(levels - 1), and larger than that, or one voxel is left and InstanceNorm refuses.
        norm: `instance` (no affine, no running statistics) or `batch`.
        dropout: probability of Dropout3d on the deepest and on the last features.
        recompute: gradient checkpointing of the two finest levels: their activations are recomputed
            in the backward pass, which halves the memory for a quarter more time.
    """

    def __init__(
        self,
        *,
        width: int = 16,
        levels: int = 5,
        norm: str = "instance",
        dropout: float = 0.0,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if levels < 3:
            raise ValueError(f"a V-Net needs at least 3 levels, not {levels}")
        self.width, self.levels, self.recompute = width, levels, recompute
        self.widths = [width * 2**level for level in range(levels)]
        if recompute and norm == "batch":
            raise ValueError(
                "recompute would count every batch twice in the statistics of norm = batch"
            )
        self.dropout = nn.Dropout3d(dropout)
        self.norm = norm
        steps = list(pairwise(self.widths))
        self.encoder = nn.ModuleList(
            _stage(1 if level == 0 else width, width, _at(_CONVOLUTIONS, level), norm)
            for level, width in enumerate(self.widths)
        )
        self.down = nn.ModuleList(
            Unit(nn.Conv3d(fine, coarse, 2, stride=2), coarse, norm) for fine, coarse in steps
        )
        self.up, self.decoder = build_decoder(self.widths, norm)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of every level, finest first, of an image [B, 1, x, y, z].

        Raises:
            ValueError: a side is too short for the number of levels, or not a multiple of their
                stride.
        """
        step = 2 ** (self.levels - 1)
        if any(side % step or side == step for side in image.shape[2:]):
            raise ValueError(
                f"an input of {tuple(image.shape[2:])} voxels does not fit {self.levels} levels: "
                f"every side must be a multiple of {step} and at least {2 * step}"
            )
        if image.device.type == "cpu":  # oneDNN convolutions are up to five times as fast
            image = channels_last(image)
        finest = self.encoder[0]
        features = [_checkpointed(finest, image) if self.recompute else finest(image)]
        for level, (down, stage) in enumerate(zip(self.down, list(self.encoder)[1:], strict=True)):
            block = nn.Sequential(down, stage)
            recompute = self.recompute and level + 1 < _RECOMPUTED
            features.append(
                _checkpointed(block, features[-1]) if recompute else block(features[-1])
            )
        features[-1] = self.dropout(features[-1])
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Full-resolution features [B, width, x, y, z] from the levels of `encode`."""
        return self.pyramid(features)[0]

    def pyramid(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Decoded features of every level but the deepest, finest first, shaped as in `encode`."""
        finest, *coarser = decode_levels(features, self.up, self.decoder, recompute=self.recompute)
        return [self.dropout(finest), *coarser]

    def forward(self, image: Tensor) -> Tensor:
        """Full-resolution features of an image."""
        return self.decode(self.encode(image))


def build_decoder(
    widths: Sequence[int],
    norm: str,
    *,
    convolutions: Sequence[int] = _CONVOLUTIONS,
    dilation: int = 1,
) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Upsampling units and stages of a decoder, as `decode_levels` takes them.

    Args:
        widths: channels of every level, finest first.
        convolutions: of the stage of each level, finest first; deeper levels repeat the last.
        dilation: of these convolutions.
    """
    steps = list(pairwise(widths))
    up = nn.ModuleList(
        Unit(nn.ConvTranspose3d(coarse, fine, 2, stride=2), fine, norm) for fine, coarse in steps
    )
    stages = nn.ModuleList(
        _stage(fine, fine, _at(convolutions, level), norm, dilation)
        for level, (fine, _) in enumerate(steps)
    )
    return up, stages


def _at(numbers: Sequence[int], level: int) -> int:
    return numbers[min(level, len(numbers) - 1)]


def _stage(channels: int, width: int, count: int, norm: str, dilation: int = 1) -> nn.Sequential:
    """`count` units of `width` channels; the first reads `channels`."""
    inputs = [channels] + [width] * (count - 1)
    return nn.Sequential(
        *(
            Unit(nn.Conv3d(each, width, 3, padding=dilation, dilation=dilation), width, norm)
            for each in inputs
        )
    )


def decode_levels(
    features: Sequence[Tensor], up: nn.ModuleList, stages: nn.ModuleList, *, recompute: bool = False
) -> list[Tensor]:
    """Features of every decoder stage, finest first; each stage adds the encoder's skip features.

    Args:
        features: of every level, finest first, as `VNet.encode` gives them.
        up, stages: of every level but the deepest, finest first.
        recompute: as in `VNet`.
    """
    decoded = [features[-1]]
    for level in reversed(range(len(up))):

        def upsample(below: Tensor, skip: Tensor, level: int = level) -> Tensor:
            return stages[level](up[level](below) + skip)

        inputs = decoded[0], features[level]
        checkpointed = recompute and level < _RECOMPUTED
        decoded.insert(0, _checkpointed(upsample, *inputs) if checkpointed else upsample(*inputs))
    return decoded[:-1]


def channels_last(volume: Tensor) -> Tensor:
    """The volume in channels-last memory, and marked as such.

    One channel lies in memory alike in both layouts; torch would take the volume for a contiguous
    one and convert what a convolution makes of it.
    """
    if volume.shape[1] == 1:
        return volume[:, 0].contiguous().unsqueeze(-1).movedim(-1, 1)
    return volume.contiguous(memory_format=torch.channels_last_3d)


def _checkpointed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """The function's value under gradient checkpointing; nothing random may happen inside."""
    if not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


def initialize(network: nn.Module, scheme: str) -> None:
    """Draw all Conv3d weights again from `kaiming` or `xavier` normal; other weights stay."""
    draw: dict[str, Callable[[Tensor], Tensor]] = {
        "kaiming": nn.init.kaiming_normal_,
        "xavier": nn.init.xavier_normal_,
    }
    if scheme not in draw:
        raise LookupError(unknown("initialization", scheme, tuple(draw)))
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            with torch.no_grad():
                draw[scheme](module.weight)
