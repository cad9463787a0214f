"""MagicNet: partition and recovery of cubes (Chen et al., CVPR 2023, arXiv 2301.01767).

With the GA losses it is GALoss (ECCV 2024); with the text head and the contrast as well it is TAK
(2025, arXiv 2501.13470). Legend of shapes: B = L + U patches, n cubes each, C classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segmentation.losses import class_counts, entropy, most_probable
from segmentation.methods.base.cubes import draw_exchange, exchange, partition, recover
from segmentation.methods.base.mean_teacher import MeanTeacher, perturb
from segmentation.methods.base.method import Batch, MethodContext, check_choice
from segmentation.methods.base.ramps import entropy_threshold
from segmentation.networks.alignments.base.alignment import IGNORED
from segmentation.networks.heads.text import TextHead
from segmentation.networks.network import DEEP, Network


class PseudoLabels(NamedTuple):
    """Pseudo-labels [U, x, y, z] of unlabeled patches, and their logits."""

    label: Tensor
    logits: Tensor

    @classmethod
    def of(cls, logits: Tensor) -> "PseudoLabels":
        """The most probable classes of logits [U, C, x, y, z]."""
        return cls(most_probable(logits), logits)


class MagicNet(MeanTeacher):
    """Cross-image and within-image partition and recovery, cube location, blended pseudo-labels.

    L = (CE + Dice + Dice_cross + Dice_within) / 4 + location_weight L_location
        + consistency_weight ramp Dice(cross, pseudo-label) + contrast, if the network has it.

    Args:
        cube: side of a cube in voxels; patches are cut into patch / cube parts along each axis.
        decay: upper limit of the teacher's averaging; match it to the length of the run.
        noise: scale of the Gaussian noise on the teacher's input.
        location_weight, location_hidden, location_bias: weight, width and bias of the MLP that
            predicts the position of a cube.
        consistency_weight: reached at the end of the ramp.
        consistency_ramp, entropy_ramp, blend_start: shares of the run.
        blend_after: steps before the blending, in place of `blend_start`.
        distribution_temperature: temperature of the organ weights in the blending.
        count_every: steps between updates of the organ counts.
        cube_order: `correct`, or `published`, which misplaces 18 of 27 cubes.
        blend: network whose cube logits are blended into the pseudo-labels: `student` (MagicNet),
            `teacher`, or `mixed`, the student's encoder and class codes with the teacher's decoder
            and head (the released TAK code).
        blend_controller: a text head is generated per `image`, as in the within-image branch, or
            per `cube` (the released TAK code).
        teacher_start: the teacher's weights in the first step: `copy`, those of the student, or
            `fresh`, random ones of its own (the released code); from the second step on they are
            the student's in either case.
    """

    two_views = pseudo_labels = True
    organ_counts: Tensor
    pending_counts: Tensor

    def __init__(
        self,
        context: MethodContext,
        *,
        cube: int = 32,
        decay: float = 0.99,
        noise: float = 0.1,
        location_weight: float = 0.1,
        location_hidden: int = 4096,
        location_bias: bool = True,
        consistency_weight: float = 0.1,
        consistency_ramp: float = 1.0,
        entropy_ramp: float = 0.62,
        blend_start: float = 0.003,
        blend_after: int | None = None,
        distribution_temperature: float = 1.0,
        count_every: int = 20,
        cube_order: str = "correct",
        blend: str = "student",
        blend_controller: str = "image",
        teacher_start: str = "copy",
    ) -> None:
        super().__init__(
            context,
            consistency_weight=consistency_weight,
            consistency_ramp=consistency_ramp,
            decay=decay,
            teacher_start=teacher_start,
        )
        self.cube_order = check_choice("cube_order", cube_order, ("correct", "published"))
        self.blend = check_choice("blend", blend, ("student", "teacher", "mixed"))
        self.blend_controller = check_choice(
            "blend_controller", blend_controller, ("image", "cube")
        )
        patch, classes = context.patch, context.classes
        step = 2 ** (self.network.vnet.levels - 1)
        if cube < 2 * step or cube % step:
            raise ValueError(
                f"method.cube = {cube} does not fit network.levels = {self.network.vnet.levels}: "
                f"it must be a multiple of {step} and at least {2 * step}"
                f"{_fitting(patch, step)}"
            )
        if any(side % cube for side in patch):
            nearest = [max(round(side / cube), 1) * cube for side in patch]
            raise ValueError(
                f"training.patch = {list(patch)} cannot be cut into cubes of method.cube = {cube}: "
                f"take training.patch = {nearest}{_fitting(patch, step)}"
            )
        self.grid = tuple(side // cube for side in patch)
        if self._cubes == 1:
            raise ValueError(
                f"training.patch = {list(patch)} is a single cube of method.cube = {cube}, which "
                f"nothing can be exchanged with{_fitting(patch, step)}"
            )
        self.noise, self.location_weight = noise, location_weight
        self.entropy_ramp = entropy_ramp
        self.blend_start, self.blend_after = blend_start, blend_after
        self.distribution_temperature, self.count_every = distribution_temperature, count_every
        self.location = location_mlp(self.network, cube, self.grid, location_hidden, location_bias)
        self.register_buffer("organ_counts", torch.zeros(classes))
        self.register_buffer("pending_counts", torch.zeros(classes))

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """All terms of a step, weighted."""
        labeled, network = len(batch.image), self.network
        images = torch.cat([batch.image, batch.student_view])
        generator = self.generator(step, images.device)
        sources = draw_exchange(len(images), self._cubes, generator)
        pseudo = self._teacher_pass(batch.unlabeled, generator)

        # One pass of the encoder for all volumes. The unlabeled patches come last: only the
        # contrast reads their features, and they are never decoded.
        mixed = exchange(images, sources, self.grid)
        volumes = [batch.image, mixed]
        if self.uses_alignment(step):
            volumes.append(batch.student_view)
        features = network.encode(torch.cat(volumes))
        used = [level[: labeled + len(mixed)] for level in features]
        decoded, deep = network.decode(used), used[-DEEP:]
        logits = network.logits(decoded[:labeled], [level[:labeled] for level in deep])
        undo = sources.argsort(0)
        crossed = network.logits(
            exchange(decoded[labeled:], undo, self.grid),
            [exchange(level[labeled:], undo, self.grid) for level in deep],
        )

        cubes = network.encode(partition(images, self.grid).flatten(0, 1))
        within = self._recovered_logits(
            network, [level[: labeled * self._cubes] for level in cubes]
        )
        blended = self._blended_labels(batch, cubes, pseudo, step)
        kept = self.trusted(*blended)

        label = batch.label
        terms = {
            "cross_entropy": self.loss.cross_entropy(logits, label) / 4,
            "dice": self.loss.dice(logits, label) / 4,
            "cross_dice": self.loss.dice(crossed[:labeled], label) / 4,
            "within_dice": self.loss.dice(within, label) / 4,
            "location": self.location_weight * self._location_loss(cubes[-1]),
            "consistency": self.unlabeled_weight(step)
            * self.loss.dice(crossed[labeled:], blended.label, mask=kept),
        }
        if self.uses_alignment(step):
            views = self._embeddings(features[-DEEP:], cubes[-DEEP:], undo, labeled)
            labels = self._anchor_labels(label, pseudo, blended, step)
            terms["contrast"] = network.align(views, labels, generator)
        return terms

    @property
    def _cubes(self) -> int:
        return self.grid[0] * self.grid[1] * self.grid[2]

    def _recover(self, cubes: Tensor) -> Tensor:
        """[B n, c, ...] to [B, c, ...] in the chosen order."""
        return recover(cubes.unflatten(0, (-1, self._cubes)), self.grid, self.cube_order)

    @torch.no_grad()
    def _teacher_pass(self, unlabeled: Tensor, generator: torch.Generator) -> PseudoLabels:
        """The teacher's pseudo-labels for noisy patches."""
        return PseudoLabels.of(self.teacher_logits(perturb(unlabeled, generator, scale=self.noise)))

    def _recovered_logits(self, network: Network, cubes: Sequence[Tensor]) -> Tensor:
        """Logits [B, C, x, y, z] from features of cubes, recovered to volumes before the head."""
        deep = [self._recover(level) for level in cubes[-DEEP:]]
        return network.logits(self._recover(network.decode(cubes)), deep)

    def _location_loss(self, deepest: Tensor) -> Tensor:
        """Cross-entropy of the predicted position of every cube in its grid, image by image.

        The MLP's BatchNorm sees the cubes of one image at a time, as published.
        """
        images = deepest.flatten(1).unflatten(0, (-1, self._cubes))
        prediction = torch.stack([self.location(cubes) for cubes in images]).float()
        truth = torch.arange(self._cubes, device=prediction.device)
        if self.cube_order == "published":  # numbered with the first axis fastest
            truth = truth.view(self.grid).permute(2, 1, 0).flatten()
        return F.cross_entropy(prediction.flatten(0, 1), truth.repeat(len(images)))

    @torch.no_grad()
    def _blended_labels(
        self, batch: Batch, cubes: Sequence[Tensor], pseudo: PseudoLabels, step: int
    ) -> PseudoLabels:
        """Pseudo-labels: frequent classes come from cubes, rare ones from the teacher."""
        if self.blend_after is None:
            started = self.progress(step) > self.blend_start
        else:
            started = step > self.blend_after
        result = PseudoLabels.of(self._blended_logits(batch, cubes, pseudo)) if started else pseudo
        self.pending_counts += class_counts(result.label, len(self.pending_counts))
        if step % self.count_every == 0:
            self.organ_counts.copy_(self.pending_counts)
            self.pending_counts.zero_()
        return result

    def _blended_logits(
        self, batch: Batch, cubes: Sequence[Tensor], pseudo: PseudoLabels
    ) -> Tensor:
        """(1 - w) teacher logits + w cube logits; w is 1 for the most frequent class."""
        share = self.organ_counts / self.organ_counts.max().clamp(min=1)
        weight = share.pow(1 / self.distribution_temperature)[pseudo.label][:, None]
        network = self.network if self.blend == "student" else self.teacher
        if self.blend == "teacher":
            parts = network.encode(partition(batch.unlabeled, self.grid).flatten(0, 1))
        else:
            parts = [level[len(batch.image) * self._cubes :].detach() for level in cubes]
        decoded, deep = network.decode(parts), parts[-DEEP:]
        if self.blend_controller == "cube":
            cube_logits = self._recover(self._blend_head(network, decoded, deep))
        else:
            levels = [self._recover(level) for level in deep]
            cube_logits = self._blend_head(network, self._recover(decoded), levels)
        return (1 - weight) * pseudo.logits + weight * cube_logits.float()

    def _blend_head(self, network: Network, decoded: Tensor, deep: Sequence[Tensor]) -> Tensor:
        """Logits of a network's head; mixed blending gives it the student's class codes."""
        head = network.head
        if self.blend == "mixed" and isinstance(head, TextHead):
            assert network.vectors is not None
            return head(decoded, deep, network.vectors, self.network.class_codes())
        return network.logits(decoded, deep)

    def _embeddings(
        self, deep: Sequence[Tensor], cube_deep: Sequence[Tensor], undo: Tensor, labeled: int
    ) -> list[Tensor]:
        """Projected features of whole, cross-image and within-image volumes: [3 B, c, ...].

        Args:
            deep: of labeled, cross-image and unlabeled volumes, [L + B + U, c, ...] each.
            cube_deep: of the cubes, [B n, c, ...] each.
        """
        contrast = self.network.contrast
        assert contrast is not None
        mixed = slice(labeled, labeled + len(undo))
        joined = zip(contrast.project(deep), contrast.project(cube_deep), strict=True)
        return [
            torch.cat(
                [
                    level[:labeled],
                    level[mixed.stop :],
                    exchange(level[mixed], undo, self.grid),
                    self._recover(cubes),
                ]
            )
            for level, cubes in joined
        ]

    def _anchor_labels(
        self, label: Tensor, pseudo: PseudoLabels, blended: PseudoLabels, step: int
    ) -> Tensor:
        """Labels of the volumes of `_embeddings`; uncertain unlabeled voxels are `IGNORED`."""
        limit = entropy_threshold(self.progress(step), self.entropy_ramp)
        teacher, cubes = self._sure_labels(pseudo, limit), self._sure_labels(blended, limit)
        return torch.cat([label, teacher, label, teacher, label, cubes])

    def _sure_labels(self, pseudo: PseudoLabels, limit: float) -> Tensor:
        """The labels, `IGNORED` where the entropy (nats) is above the limit or a claim violated."""
        probabilities = pseudo.logits.softmax(1)
        labels = pseudo.label.masked_fill(entropy(probabilities) > limit, IGNORED)
        return self.without_violations(labels, probabilities)


def _fitting(patch: Sequence[int], step: int) -> str:
    """Advice with the largest cube that fits network and patch, empty if there is none."""
    sides = range(max(patch) // 2 // step * step, 2 * step - 1, -step)
    fitting = [cube for cube in sides if not any(side % cube for side in patch)]
    return f"; method.cube = {fitting[0]} fits this patch" if fitting else ""


def location_mlp(
    network: Network, cube: int, grid: Sequence[int], hidden: int, bias: bool
) -> nn.Sequential:
    """From the flattened deepest features of a cube to its number in the grid."""
    deepest = network.vnet.widths[-1] * (cube // 2 ** (network.vnet.levels - 1)) ** 3
    return nn.Sequential(
        nn.Linear(deepest, hidden, bias=bias),
        nn.BatchNorm1d(hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(hidden, grid[0] * grid[1] * grid[2]),
    )
