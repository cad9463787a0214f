"""Cross pseudo supervision (Chen et al., CVPR 2021, arXiv 2106.01226)."""

from collections.abc import Callable

from segmentation.cotraining import CoTraining
from segmentation.losses import Loss
from segmentation.networks.network import Network


class CPS(CoTraining):
    """Two networks, A of Kaiming and B of Xavier initialization, each the other's teacher.

    L = sum over both of CE(Z[l], Y) + Dice(Z[l], Y) + w ramp (CE(Z_A, y_B) + CE(Z_B, y_A)),
    with y the arg-max of the same pass on labeled and unlabeled patches [L + U, x, y, z].

    With the GA losses it is GALoss on CPS (ECCV 2024): GA-CE of the hardest 10 % of the voxels
    against true labels, of all voxels against guessed ones (`pseudo_percent` of the loss).

    Args:
        consistency_weight: w; 1 in DHC's framework, 0.1 in GALoss.
        consistency_ramp: share of the run; 0 for the full weight from the start.
    """

    def __init__(
        self,
        build: Callable[[], Network],
        loss: Loss,
        *,
        total_steps: int,
        consistency_weight: float = 1.0,
        consistency_ramp: float = 1.0,
        seed: int = 0,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__(
            build,
            loss,
            total_steps=total_steps,
            consistency_weight=consistency_weight,
            consistency_ramp=consistency_ramp,
            seed=seed,
            warmup_steps=warmup_steps,
        )
