"""Co-training: base of methods in which two networks exchange pseudo-labels.

Cross pseudo supervision: Chen et al., CVPR 2021, arXiv 2106.01226. Legend of shapes: L labeled and
U unlabeled patches, C classes, `x y z` space.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from segmentation.losses import most_probable
from segmentation.methods.base.method import Batch, Method, MethodContext
from segmentation.networks.network import Network, Output
from segmentation.networks.vnet import initialize


class Prediction(NamedTuple):
    """Output of one network for all patches, the labeled ones first.

    Attributes:
        logits: [L + U, C, x, y, z], fp32, with gradient.
        label: arg-max of the logits [L + U, x, y, z].
        deep: the three deepest feature levels.
    """

    logits: Tensor
    label: Tensor
    deep: list[Tensor]

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, detached: [L + U, C, x, y, z]."""
        return self.logits.detach().softmax(1)


Pair = tuple[Prediction, Prediction]


class CoTraining(Method):
    """Two networks of different initialization; each learns from the other's pseudo-labels.

    L = sum over both of CE + Dice on labeled patches
        + consistency_weight ramp (CE(Z_A, y_B) + CE(Z_B, y_A)) on all patches

    Subclasses override the loss on pseudo-labels (`cross`, which asks `trust` for the voxels that
    count) and the class weights (`class_weights`, `observe`).

    Args:
        consistency_weight: weight of the cross term at the end of the ramp.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        initialization: how the convolutions of A and of B are drawn, `kaiming` or `xavier`.
    """

    pseudo_labels = True

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 1.0,
        consistency_ramp: float = 1.0,
        initialization: Sequence[str] = ("kaiming", "xavier"),
    ) -> None:
        super().__init__(
            context, consistency_weight=consistency_weight, consistency_ramp=consistency_ramp
        )
        if len(initialization) != 2:
            raise ValueError(f"two networks need two initializations, not {list(initialization)}")
        self.second = context.build()
        for network, scheme in zip(self.networks, initialization, strict=True):
            initialize(network, scheme)

    @property
    def networks(self) -> tuple[Network, Network]:
        """Network A, then network B."""
        return self.network, self.second

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """`cross_entropy`, `dice`, `cross` and, with alignment, `contrast`; sums over both."""
        images = torch.cat([batch.image, batch.unlabeled])
        generator = self.generator(step, images.device)
        first, second = (prediction_of(network(images)) for network in self.networks)
        predictions = (first, second)
        with torch.no_grad():
            self.observe(predictions, batch, step)
        terms = self._labeled_terms(
            [prediction.logits[: len(batch.image)] for prediction in predictions], batch
        )
        terms["cross"] = self.unlabeled_weight(step) * self.cross(
            predictions, len(batch.image), generator
        )
        if self.uses_alignment(step):
            terms["contrast"] = self._contrasts(predictions, batch, step, generator)
        return terms

    def warm_up(self, batch: Batch) -> dict[str, Tensor]:
        """Both networks on the labeled patches; statistics begin after the warm-up."""
        return self._labeled_terms(
            [network(batch.image).logits for network in self.networks], batch
        )

    def class_weights(self) -> tuple[Tensor | None, Tensor | None]:
        """Current class weights [C] of A and B, None for equal weights."""
        return None, None

    def observe(self, predictions: Pair, batch: Batch, step: int) -> None:
        """Update the statistics behind class weights and thresholds; called before the losses."""

    def cross(self, predictions: Pair, labeled: int, generator: torch.Generator) -> Tensor:
        """Loss of each network against the other's pseudo-labels, summed, without the ramp.

        Args:
            labeled: number of labeled patches, which come first.
            generator: random generator of the step.
        """
        first, second = predictions
        weight_first, weight_second = self.class_weights()
        return self.loss.pseudo_cross_entropy(
            first.logits, second.label, weight_first, self.trust(second)
        ) + self.loss.pseudo_cross_entropy(
            second.logits, first.label, weight_second, self.trust(first)
        )

    def trust(self, prediction: Prediction) -> Tensor | None:
        """The voxels of a prediction whose label the other network may learn, see `trusted`."""
        return self.trusted(prediction.label, prediction.logits.detach())

    def predictors(self) -> dict[str, nn.Module]:
        """Both networks together, then each alone."""
        return {
            "ensemble": Ensemble(self.networks),
            "first": self.network,
            "second": self.second,
        }

    def _labeled_terms(self, logits: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy and Dice of both networks against the labels."""
        weights = self.class_weights()
        label, pairs = batch.label, list(zip(logits, weights, strict=True))
        entropies = [
            self.loss.cross_entropy(prediction, label, weight) for prediction, weight in pairs
        ]
        dices = [self.loss.dice(prediction, label, weight) for prediction, weight in pairs]
        return {"cross_entropy": sum_of(entropies), "dice": sum_of(dices)}

    def _contrasts(
        self, predictions: Pair, batch: Batch, step: int, generator: torch.Generator
    ) -> Tensor:
        """Contrast of both networks; unlabeled voxels get the other network's confident labels."""
        terms = []
        for network, prediction, other in zip(
            self.networks, predictions, predictions[::-1], strict=True
        ):
            confident = self.confident_labels(other.probabilities[len(batch.image) :], step)
            labels = torch.cat([batch.label, confident])
            terms.append(self.contrast(network, prediction.deep, labels, generator))
        return sum_of(terms)


class Ensemble(nn.Module):
    """Ensemble of networks: mean of their logits, deep features of the first."""

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        # A new module is in training mode; calling `train` would switch the networks, too.
        self.training = networks[0].training

    def forward(self, image: Tensor) -> Output:
        """Logits [B, C, x, y, z] of an image [B, 1, x, y, z]."""
        outputs = [network(image) for network in self.networks]
        logits = torch.stack([output.logits for output in outputs]).mean(0)
        return Output(logits, outputs[0].deep)


def sum_of(terms: Sequence[Tensor]) -> Tensor:
    """The sum of scalars as one scalar tensor."""
    return torch.stack(list(terms)).sum()


def update_class_averages(state: Tensor, new: Tensor, momentum: float, moved: Tensor) -> None:
    """In place: state <- momentum state + (1 - momentum) new for classes in `moved`; all [C]."""
    state.copy_(torch.where(moved, momentum * state + (1 - momentum) * new, state))


def prediction_of(output: Output) -> Prediction:
    """Logits in fp32 and labels of a network's output."""
    logits = output.logits.float()
    return Prediction(logits, most_probable(logits.detach()), output.deep)
