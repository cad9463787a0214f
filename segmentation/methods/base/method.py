"""Interface of all semi-supervised methods: losses of a batch, update after a step, prediction.

Legend of shapes: L labeled and U unlabeled patches, C classes, `x y z` space.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from segmentation.common.suggest import unknown
from segmentation.losses import Loss, entropy, most_probable
from segmentation.methods.base.ramps import entropy_threshold, ramp
from segmentation.networks.alignments.base.alignment import IGNORED
from segmentation.networks.network import Network
from segmentation.relations import ClaimFilter, RelationLoss

_ENTROPY_RAMP = 0.621  # share of the run; TAK's 100 of 161 epochs


@dataclass(frozen=True)
class Batch:
    """Patches of one step. Unlabeled patches have no label field, so no method can read it.

    Attributes:
        image: [L, 1, x, y, z], intensities in [0, 1] before augmentation.
        label: [L, x, y, z], int64.
        unlabeled: [U, 1, x, y, z]; the weak view, if there are two.
        strong: [U, 1, x, y, z], the same places with transforms of the intensity; None without
            two views.
    """

    image: Tensor
    label: Tensor
    unlabeled: Tensor
    strong: Tensor | None = None

    @property
    def student_view(self) -> Tensor:
        """The unlabeled patches as a student of a teacher sees them: strong if there are two."""
        return self.unlabeled if self.strong is None else self.strong

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(*(part.to(device, non_blocking=True) for part in self._parts))

    def pin_memory(self) -> "Batch":
        """The same batch in pinned memory, for asynchronous copies to a GPU."""
        return Batch(*(part.pin_memory() for part in self._parts))

    @property
    def _parts(self) -> tuple[Tensor, ...]:
        views = () if self.strong is None else (self.strong,)
        return (self.image, self.label, self.unlabeled, *views)


@dataclass(frozen=True)
class MethodContext:
    """Everything a method receives from the run: network factory, loss, schedule, class counts.

    Attributes:
        build: factory of freshly initialized networks.
        loss: cross-entropy and Dice in the chosen form.
        total_steps: length of the run; ramps and starts are shares of it.
        classes: C, background included.
        patch: sides of a patch in voxels.
        voxels: voxels per class in the labeled scans, C numbers, for methods with class weights.
        seed: random seed of the run; seed and step determine everything random in a step.
        warmup_steps: first steps, supervised only.
        epoch_steps: steps within which ramps and starts stay constant.
        relations: anatomical relations as a further loss on unlabeled patches, None without.
        claim_filter: anatomical relations as a filter of pseudo-labels, None without; for methods
            with `pseudo_labels`.

    Raises:
        ValueError: a warm-up as long as the run.
    """

    build: Callable[[], Network]
    loss: Loss
    total_steps: int
    classes: int
    patch: Sequence[int]
    voxels: Sequence[float] | None = None
    seed: int = 0
    warmup_steps: int = 0
    epoch_steps: int = 1
    relations: RelationLoss | None = None
    claim_filter: ClaimFilter | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_steps < self.total_steps:
            raise ValueError(
                f"warmup_steps: expected 0 to {self.total_steps - 1} in a run of "
                f"{self.total_steps} steps, got {self.warmup_steps}"
            )

    def class_counts(self) -> Tensor:
        """Voxels per class in the labeled scans, [C] in fp32.

        Raises:
            ValueError: the context has no counts.
        """
        if self.voxels is None:
            raise ValueError("this method weighs classes: give their voxels in the labeled cases")
        return torch.tensor(self.voxels, dtype=torch.float32)


class Method(nn.Module, ABC):
    """Base of all methods. It owns its networks, so that `state_dict()` is its complete state.

    The keyword-only arguments of a method's constructor are its options in a recipe.

    Args:
        consistency_weight: weight of the loss on unlabeled patches at the end of the ramp.
        consistency_ramp: share of the run; 0 for the full weight from the start.
    """

    needs_unlabeled: ClassVar[bool] = True
    two_views: ClassVar[bool] = False  # whether a student learns from `Batch.student_view`
    pseudo_labels: ClassVar[bool] = False  # whether it asks `trusted` before it learns from them

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 1.0,
        consistency_ramp: float = 1.0,
    ) -> None:
        super().__init__()
        self.network = context.build()
        self.loss, self.relations = context.loss, context.relations
        self.claim_filter = context.claim_filter
        self._ignored: list[Tensor] = []  # shares of this step, see `measures`
        self.total_steps, self.warmup_steps = context.total_steps, context.warmup_steps
        self.epoch_steps = context.epoch_steps
        self.consistency_weight, self.consistency_ramp = consistency_weight, consistency_ramp
        mixed = torch.Generator("cpu").manual_seed(context.seed)
        self._mixed_seed = int(torch.randint(2**62, (1,), generator=mixed, device="cpu"))

    @abstractmethod
    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Weighted loss terms at `step` (from 0); their sum is minimized."""

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Loss terms of a step: supervised ones during the warm-up, then all.

        Dropout draws from the global generator, which is therefore seeded from seed and step here,
        and restored afterward: dropout of a resumed run is that of the uninterrupted one.
        """
        device = batch.image.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self._step_seed(step))
            self._ignored.clear()
            if step < self.warmup_steps:
                return self.warm_up(batch)
            terms = self.losses(batch, step)
            if self.relations is not None:
                terms["relations"] = self.relations(self.predict(batch.student_view))
            return terms

    def warm_up(self, batch: Batch) -> dict[str, Tensor]:
        """Loss terms of a warm-up step, of labeled patches only."""
        return self.supervised_terms(self.network(batch.image).logits, batch.label)

    def supervised_terms(
        self, logits: Tensor, label: Tensor, weight: float = 0.5
    ) -> dict[str, Tensor]:
        """Weighted `cross_entropy` and `dice` of labeled patches; half of each by default."""
        return {
            "cross_entropy": weight * self.loss.cross_entropy(logits, label),
            "dice": weight * self.loss.dice(logits, label),
        }

    def after_step(self, step: int) -> None:
        """Hook after the optimizer's step `step`, for example to update a teacher."""

    def predictors(self) -> dict[str, nn.Module]:
        """Networks that can predict, by name, the default one first."""
        return {"student": self.network}

    def predict(self, image: Tensor, predictor: str | None = None) -> Tensor:
        """Logits [B, C, x, y, z] of an image [B, 1, x, y, z].

        Raises:
            LookupError: no predictor of that name.
        """
        known = self.predictors()
        if predictor is not None and predictor not in known:
            raise LookupError(unknown("predictor", predictor, tuple(known)))
        network = known[predictor] if predictor else next(iter(known.values()))
        return network(image).logits

    def measures(self) -> dict[str, Tensor]:
        """Scalars of the last step for the log, besides its losses.

        `relations/ignored`, with a filter of claims: the share of the voxels with the pseudo-label
        of an organ whose pseudo-label was ignored; the mean over networks that give pseudo-labels.
        """
        if not self._ignored:
            return {}
        return {"relations/ignored": torch.stack(self._ignored).mean()}

    def trusted(self, label: Tensor, logits: Tensor) -> Tensor | None:
        """The voxels whose pseudo-label violates no claim [B, x, y, z]; None without a filter.

        Args:
            label: pseudo-labels [B, x, y, z].
            logits: those that the labels come from [B, C, x, y, z].
        """
        if self.claim_filter is None:
            return None
        kept = self.claim_filter(label, logits.float().softmax(1))
        self._ignored.append((~kept).sum() / (label > 0).sum().clamp(min=1))
        return kept

    def progress(self, step: int) -> float:
        """Completed share of the run after the warm-up before `step`'s epoch, in [0, 1)."""
        done = max(step - step % self.epoch_steps - self.warmup_steps, 0)
        return done / (self.total_steps - self.warmup_steps)

    def unlabeled_weight(self, step: int) -> float:
        """Weight of the loss on unlabeled patches at `step`, with its ramp."""
        return self.consistency_weight * ramp(self.progress(step), self.consistency_ramp)

    def generator(self, step: int, device: torch.device) -> torch.Generator:
        """Random generator of one step, a function of seed, step and device."""
        return torch.Generator(device).manual_seed(self._step_seed(step))

    def _step_seed(self, step: int) -> int:
        # 2^64 / golden ratio: multiples of it spread over all bits, so neighboring steps differ.
        return self._mixed_seed ^ (step * 0x9E3779B97F4A7C15 % 2**63)

    def uses_alignment(self, step: int) -> bool:
        """Whether the contrast of text and features is part of the loss at `step`."""
        contrast = self.network.contrast
        return contrast is not None and self.progress(step) >= contrast.start

    def contrast(
        self,
        network: Network,
        deep: Sequence[Tensor],
        labels: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """The weighted contrast of a network's deep features with the text.

        Args:
            network: one with alignment; see `uses_alignment`.
            deep: the three deepest levels, [B, c, ...] each.
            labels: [B, x, y, z], `IGNORED` where a voxel takes no part.
            generator: source of the random voxels.
        """
        assert network.contrast is not None
        return network.align(network.contrast.project(deep), labels, generator)

    def confident_labels(self, probabilities: Tensor, step: int) -> Tensor:
        """The most probable class, `IGNORED` where the entropy is above the rising threshold.

        Args:
            probabilities: [B, C, x, y, z].

        Returns:
            [B, x, y, z]; threshold and ramp are those of TAK (2025, arXiv 2501.13470).
        """
        limit = entropy_threshold(self.progress(step), _ENTROPY_RAMP)
        unsure = entropy(probabilities) > limit
        labels = most_probable(probabilities).masked_fill(unsure, IGNORED)
        return self.without_violations(labels, probabilities)

    def without_violations(self, labels: Tensor, probabilities: Tensor) -> Tensor:
        """Pseudo-labels [B, x, y, z], `IGNORED` where the filter of claims ignores them."""
        if self.claim_filter is None:
            return labels
        return labels.masked_fill(~self.claim_filter(labels, probabilities), IGNORED)


def masked(mask: Tensor, trusted: Tensor | None) -> Tensor:
    """A method's own mask of pseudo-labels within that of `Method.trusted`."""
    return mask if trusted is None else mask * trusted


def check_choice(option: str, value: str, known: Sequence[str]) -> str:
    """The value of an option with a fixed set of values.

    Raises:
        LookupError: an unknown value; the message lists the known ones.
    """
    if value not in known:
        raise LookupError(unknown(option, value, known))
    return value
