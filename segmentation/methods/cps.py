"""Cross pseudo supervision (Chen et al., CVPR 2021, arXiv 2106.01226)."""

from segmentation.methods.base.co_training import CoTraining


class CPS(CoTraining):
    """Two networks, A of Kaiming and B of Xavier initialization, each the other's teacher.

    L = sum over both of CE(Z[l], Y) + Dice(Z[l], Y) + w ramp (CE(Z_A, y_B) + CE(Z_B, y_A)),
    with y the arg-max of the same pass on labeled and unlabeled patches [L + U, x, y, z].

    With the GA losses it is GALoss on CPS (ECCV 2024): GA-CE of the hardest 10 % of the voxels
    against true labels, of all voxels against pseudo-labels (`pseudo_percent` of the loss).

    Its options are those of `CoTraining`; w is 1 in DHC's framework, 0.1 in GALoss.
    """
