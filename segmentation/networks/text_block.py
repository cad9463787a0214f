"""Text in the features: every voxel of a level gets a mixture of the classes' text codes.

After the block of VCLIPSeg in the bottleneck (Li et al., MICCAI 2024). Legend of shapes: B batch,
w channels of the level, C classes, A aspects, E text width, `x y z` space of the level.
"""

import torch
from torch import Tensor, nn

from segmentation.networks.vnet import Unit

_REDUCTION = 4  # of the channels from which the mixture is predicted


class TextBlock(nn.Module):
    """Features joined with sum_c a_c t_c: a the predicted shares of the classes, t their codes.

    The text reaches the logits whatever the head is. A class that is not in a patch has a small
    share; nothing is averaged over its voxels, so its absence cannot give NaN, as the alignment of
    the released code does.

    Args:
        width: w.
        classes, aspects, text_width: C, A and E of the text vectors.
        norm: as in `VNet`.
    """

    def __init__(
        self, width: int, classes: int, aspects: int, text_width: int, norm: str = "instance"
    ) -> None:
        super().__init__()
        inner = max(width // _REDUCTION, 1)
        self.code = nn.Linear(aspects * text_width, width)
        self.shares = nn.Sequential(
            Unit(nn.Conv3d(width, inner, 1), inner, norm),
            nn.Conv3d(inner, inner, 1),
            nn.ReLU(inplace=True),
            nn.Conv3d(inner, classes, 1),
        )
        self.join = Unit(nn.Conv3d(2 * width, width, 1), width, norm)

    def forward(self, features: Tensor, vectors: Tensor) -> Tensor:
        """Features [B, w, x, y, z] that have read text vectors [C, A, E]; same shape."""
        return self.join(torch.cat([features, self.mixture(features, vectors)], dim=1))

    def mixture(self, features: Tensor, vectors: Tensor) -> Tensor:
        """The mixture of class codes of every voxel: [B, w, x, y, z]."""
        codes = self.code(vectors.flatten(1))
        shares = self.shares(features).softmax(1)
        return torch.einsum("bcxyz,cw->bwxyz", shares, codes)
