"""SS-Net: smoothness and class separation (Wu et al., MICCAI 2022, arXiv 2203.01324).

Legend of shapes: B = L + U patches, C classes, O = C - 1 organs, K remembered vectors, F their
width, V voxels, `x y z` space.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segmentation.losses import most_probable
from segmentation.methods.base.blocks import OrganBlocks, sort_into_blocks
from segmentation.methods.base.method import Batch, Method, MethodContext, check_choice
from segmentation.networks.network import DEEP

_EPSILON = 1e-8


class SSNet(Method):
    """Predictions withstand the worst small change of the image; features gather by class.

    L = CE(Z[l], Y) + Dice(Z[l], Y) + w ramp (L_smooth + separation_weight (L_sep[l] + L_sep[u]))

    L_smooth = `soft_dice_loss` of P and the probabilities of the image plus `reach` d. d is the
    unit vector per patch along which that loss grows fastest, found by one gradient at the image
    plus `probe` times a random unit vector (virtual adversarial training, 2017, arXiv 1704.03976).

    L_sep: every voxel's decoded features pass a projection and a prediction, [V, F]. Up to K
    projected vectors per organ are remembered, of the labeled voxels that the step classifies
    rightly, the ones that the organ's selector rates highest. Over organs c, with f the predicted
    unit vectors of the voxels of c (labeled, or predicted for unlabeled patches) and m the
    remembered ones, L_sep = sum_c mean_ij u_i v_j (1 - f_i . m_j) / C, where u and v are what two
    more selectors of the organ rate f and m, scaled to a mean of 1.

    The released code keeps the lowest rated vectors instead (`keep = "lowest"`), and computes the
    cross-entropy without adding it (`with_cross_entropy = false`). It also has a pair of selectors
    for background, which is never remembered and so never used.

    A text head and the contrast with text change nothing here: the separation works on the decoded
    features below the head.

    Args:
        consistency_weight: weight w of the loss on unlabeled patches.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        separation_weight, probe, reach: as above; the lengths are those of whole patches.
        remembered, width: K and F.
        keep: `highest` or `lowest`.
        with_cross_entropy: whether the loss on labeled patches includes cross-entropy.
    """

    memory: Tensor
    filled: Tensor

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 1.0,
        consistency_ramp: float = 1.0,
        separation_weight: float = 0.1,
        probe: float = 10.0,
        reach: float = 10.0,
        remembered: int = 32,
        width: int = 64,
        keep: str = "highest",
        with_cross_entropy: bool = True,
    ) -> None:
        super().__init__(
            context, consistency_weight=consistency_weight, consistency_ramp=consistency_ramp
        )
        if remembered < 2 or width < 1:
            raise ValueError(
                f"remembered must be at least 2 and width at least 1, not {remembered} and {width}"
            )
        self.separation_weight, self.probe, self.reach = separation_weight, probe, reach
        self.keep = check_choice("keep", keep, ("highest", "lowest"))
        self.with_cross_entropy, self.classes = with_cross_entropy, context.classes
        organs = context.classes - 1
        self.projection = _mlp(self.network.vnet.width, width)
        self.prediction = _mlp(width, width)
        self.rate_features = Selectors(organs, width)
        self.rate_memory = Selectors(organs, width)
        self.register_buffer("memory", torch.zeros(organs, remembered, width))
        self.register_buffer("filled", torch.zeros(organs, dtype=torch.int64))

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """`cross_entropy`, `dice`, `smoothness`, `separation`; with alignment, `contrast`."""
        labeled, network = len(batch.image), self.network
        images = torch.cat([batch.image, batch.unlabeled])
        generator = self.generator(step, images.device)
        features = network.encode(images)
        decoded, deep = network.decode(features), features[-DEEP:]
        logits = network.logits(decoded, deep).float()
        probabilities = logits.detach().softmax(1)
        prediction = most_probable(probabilities)
        unlabeled_weight = self.unlabeled_weight(step)
        terms = self._labeled_terms(logits[:labeled], batch.label)
        terms["smoothness"] = unlabeled_weight * self._smoothness(images, probabilities, generator)
        self._remember(decoded[:labeled], batch.label, prediction[:labeled])
        separation = self._separation(decoded[:labeled], batch.label)
        separation = separation + self._separation(decoded[labeled:], prediction[labeled:])
        terms["separation"] = unlabeled_weight * self.separation_weight * separation
        if self.uses_alignment(step):
            labels = torch.cat([batch.label, self.confident_labels(probabilities[labeled:], step)])
            terms["contrast"] = self.contrast(network, deep, labels, generator)
        return terms

    def warm_up(self, batch: Batch) -> dict[str, Tensor]:
        """The labeled patches; nothing is remembered yet."""
        return self._labeled_terms(self.network(batch.image).logits, batch.label)

    def _labeled_terms(self, logits: Tensor, label: Tensor) -> dict[str, Tensor]:
        terms = {"dice": self.loss.dice(logits, label)}
        if self.with_cross_entropy:
            terms["cross_entropy"] = self.loss.cross_entropy(logits, label)
        return terms

    def _smoothness(self, images: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        """Dice loss between clean and worst changed patches, probabilities [B, C, x, y, z]."""

        def loss(change: Tensor) -> Tensor:
            changed = self.network(images + change).logits.float().softmax(1)
            return soft_dice_loss(changed, target)

        draws = torch.rand(images.shape, generator=generator, device=images.device)
        direction = _unit(draws - 0.5).requires_grad_()
        with _running_statistics_at_rest(self.network):
            # Half precision would round this gradient, which no scaler has enlarged, to 0.
            with torch.autocast(images.device.type, enabled=False):
                steepest = torch.autograd.grad(loss(self.probe * direction), direction)[0]
            return loss(self.reach * _unit(steepest))

    @torch.no_grad()
    def _remember(self, decoded: Tensor, label: Tensor, prediction: Tensor) -> None:
        """Replace what is remembered of every organ that has a rightly classified voxel."""
        right = label.where(prediction == label, 0).flatten()
        self.projection.eval()  # these voxels are projected as all of them were so far
        vectors = self.projection(_rows(decoded)).float()
        self.projection.train(self.training)
        blocks = sort_into_blocks(right, self.classes - 1)
        rating = blocks.scatter(self.rate_features(blocks.gather(vectors), blocks), len(right))
        worth = rating if self.keep == "highest" else -rating
        organs = torch.arange(1, self.classes, device=right.device)[:, None]
        best = worth.where(right == organs, -torch.inf).topk(min(len(right), self.memory.shape[1]))
        valid = best.values > -torch.inf  # an organ may have fewer voxels than places
        place = self.memory[:, : valid.shape[1]]
        place.copy_(vectors[best.indices].where(valid[:, :, None], place))
        self.filled.copy_(valid.sum(1).where(valid[:, 0], self.filled))

    def _separation(self, decoded: Tensor, label: Tensor) -> Tensor:
        """Distance of the features [B, c, x, y, z] of every organ from what is remembered of it."""
        vectors = self.prediction(self.projection(_rows(decoded))).float()
        blocks = sort_into_blocks(label.flatten(), self.classes - 1)
        features = _rated_means(F.normalize(vectors, dim=1), self.rate_features, vectors, blocks)
        memory, stored = self._remembered()
        distances = 1 - (features * _rated_means(memory, self.rate_memory, memory, stored)).sum(1)
        # The selectors' batch norm needs two vectors of an organ on either side.
        defined = (blocks.counts > 1) & (stored.counts > 1)
        return distances.where(defined, 0).sum() / self.classes

    def _remembered(self) -> tuple[Tensor, OrganBlocks]:
        """The remembered unit vectors and where those of every organ stand."""
        organs, places, _ = self.memory.shape
        kinds = torch.arange(1, organs + 1, device=self.memory.device)[:, None]
        there = torch.arange(places, device=self.memory.device) < self.filled[:, None]
        known = F.normalize(self.memory.flatten(0, 1), dim=1)
        return known, sort_into_blocks(kinds.where(there, 0).flatten(), organs)


class Selectors(nn.Module):
    """A small network per organ that rates vectors: linear, batch norm, LeakyReLU, linear.

    The weights of all organs are one parameter each, and all organs are rated at once. The norm has
    no running statistics: ratings compare the vectors at hand, of which it needs two.
    """

    def __init__(self, organs: int, width: int) -> None:
        super().__init__()
        bound = width**-0.5  # as nn.Linear

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(organs, *shape).uniform_(-bound, bound))

        self.first, self.first_bias = uniform(width, width), uniform(width)
        self.scale = nn.Parameter(torch.ones(organs, width))
        self.shift = nn.Parameter(torch.zeros(organs, width))
        self.last, self.last_bias = uniform(width), uniform()

    def forward(self, vectors: Tensor, blocks: OrganBlocks) -> Tensor:
        """Ratings in (0, 1), [N, R], of vectors [N, R, F] in their blocks."""
        weight = self.first.index_select(0, blocks.organ)
        inner = (vectors @ weight.mT + blocks.per_block(self.first_bias)).float()
        many = blocks.counts.clamp(min=1)[:, None]
        inner = inner - blocks.per_block(blocks.sums(inner) / many)
        variance = blocks.sums(inner.square()) / many
        inner = inner * blocks.per_block(self.scale / (variance + 1e-5).sqrt()) + blocks.per_block(
            self.shift
        )
        rating = F.leaky_relu(inner, 0.2) @ blocks.per_block(self.last).mT
        return (rating + blocks.per_block(self.last_bias[:, None])).float().sigmoid()[:, :, 0]


def soft_dice_loss(one: Tensor, other: Tensor) -> Tensor:
    """1 - mean over all classes of 2 sum pq / (sum p + sum q), probabilities [B, C, x, y, z]."""
    places = (0, 2, 3, 4)
    overlap = 2 * (one * other).sum(places) + _EPSILON
    return 1 - (overlap / (one.sum(places) + other.sum(places) + _EPSILON)).mean()


def _mlp(inner: int, width: int) -> nn.Sequential:
    """Linear, batch norm, ReLU, linear."""
    return nn.Sequential(
        nn.Linear(inner, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width)
    )


def _rated_means(units: Tensor, selectors: Selectors, rated: Tensor, blocks: OrganBlocks) -> Tensor:
    """Means [O, F] over every organ's unit vectors [V, F], each as much as it is rated.

    No gradient goes to the rated vectors [V, F]. The distances 1 - f . m of all pairs need not be
    made: with weights of mean 1 on either side their weighted mean is 1 minus the product of two
    such means.
    """
    rating = selectors(blocks.gather(rated.detach()), blocks)[:, :, None]
    return blocks.sums(rating * blocks.gather(units)) / blocks.sums(rating).clamp(min=_EPSILON)


def _rows(features: Tensor) -> Tensor:
    """[B, c, x, y, z] to [V, c]."""
    return features.movedim(1, -1).flatten(0, 3)


def _unit(change: Tensor) -> Tensor:
    """A change of the image [B, 1, x, y, z] scaled to length 1 per patch."""
    return change / (change.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1) + _EPSILON)


@contextmanager
def _running_statistics_at_rest(network: nn.Module) -> Iterator[None]:
    """Batch norm goes by the batch and does not count it: changed images are not the data."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
