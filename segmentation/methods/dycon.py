"""The two losses of DyCON (Assefa et al., CVPR 2025, arXiv 2504.04566) without its label leak.

Legend of shapes: B labeled and unlabeled patches, L of them labeled, C classes, `x y z` space, T
tokens (voxels of a coarse level, over all patches), K sampled tokens, c channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segmentation.losses import entropy
from segmentation.methods.base.mean_teacher import MeanTeacher, perturb
from segmentation.methods.base.method import Batch, MethodContext
from segmentation.methods.base.ramps import ramp
from segmentation.networks.alignments.base.alignment import IGNORED
from segmentation.networks.alignments.proxies import token_shares
from segmentation.networks.network import DEEP

_MARGIN = 1e-3  # of cosines to 0 and 1, where a power or a logarithm is steep
_COLDEST = 0.02  # e^(1 / temperature), summed over all tokens, still fits fp32


class DyCON(MeanTeacher):
    """A mean teacher in which unsure voxels count less, and token features gather by class.

    L = CE(Z[l], Y) + Dice(Z[l], Y) + w ramp (UnCL + token_weight FeCL), over all patches.

    UnCL = mean_v [sum_c (P - P')^2 / (e^(b H) + e^(b H')) + b H] with P the student's
    probabilities, P' those of the teacher, which sees noise, H and H' their entropies, and b
    falling from `beta[0]` to `beta[1]` by equal factors. As published the teacher's b H' is added,
    too: a constant without gradient, left out here. The student's b H stays: without it, the
    student would lower the first summand by being unsure.

    FeCL compares K tokens of the encoder's level of stride `stride`. With c_ij the cosine of two
    tokens of the student, c'_im that of i with the teacher's token m, s = c / temperature, j over
    tokens of i's class, m over the n_i tokens of other classes, and r the c limited to [0.001,
    0.999], it is

        mean_i mean_j f_ij ln((e^s_ij + sum_m g_im e^s_im) / e^s_ij) - mean_im ln(1 - c'_im)

    with the focal weights f_ij = (1 - r_ij)^gamma, 0 for easy pairs, c_ij >= `positive_below`, and
    g_im = n_i r_im^gamma / sum_k r_ik^gamma, hard negatives more than easy ones and 1 in the mean
    (as in arXiv 2010.04592). The last mean is over hard pairs, c'_im > `negative_above`. Both
    limits rise with the ramp.

    The released code (KU-CVML/DyCON) differs, each point a defect that is repaired here:

    - It compares tokens by the true masks of the unlabeled patches, as its authors confirm, so that
      its published figures are not those of semi-supervised learning. Here a token has the class of
      most of its voxels: labeled patches by their labels, unlabeled ones by the teacher's labels
      where it is confident (`Method.confident_labels`). Tokens without such a class take no part.
    - Its limit of positives, 1.3 to 1.5, is compared with a share of a softmax, at most 1, and
      excludes none; a pair beyond it would weigh most. It suits s, whose histogram the code plots;
      here it is a limit of c, 0.6 times as large, and excludes easy pairs.
    - Its weights of negatives multiply terms that are 0 there; here they are in the sum over m.
    - Its weights of positives are powers of 1 minus that share, all nearly 1 among hundreds of
      negatives. Here they go by the cosine.
    - ln(1 - c') has no bound; here 0.001 is added to 1 - c'.
    - Pairs are within a patch, so labels could not reach unlabeled tokens; here over all patches.
    - Its further consistency, weight 0.1, passes probabilities through a second softmax; left out,
      as UnCL has the same summand.

    It has no ramp (`consistency_ramp = 0`) and compares tokens behind a projection of its own; here
    they are features of the V-Net. Weights of pairs by entropy, which the paper describes and the
    released script switches off, are left out.

    Memory: the similarities are K x K, 4 MiB per matrix with 1024 tokens in fp32, whatever the
    patch.

    Args:
        consistency_weight: weight w of both losses at the end of the ramp.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        token_weight: weight of FeCL beside UnCL.
        beta: b at the start and at the end of the run.
        noise: scale of the Gaussian noise that the teacher sees, clipped at twice that.
        decay: upper limit of the teacher's averaging; match it to the length of the run.
        stride: voxels along the side of a token, a power of 2; the nearest of the three deepest
            levels is taken, the deepest one in a network of fewer levels.
        purity: share of a token's voxels that its class exceeds.
        tokens: K, at most, in a step: drawn class by class in turn until there are as many.
        temperature, gamma: as above.
        positive_below, negative_above: limits of the cosine at the start and the end of the ramp.
    """

    two_views = True

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 0.5,
        consistency_ramp: float = 1.0,
        token_weight: float = 1.0,
        beta: Sequence[float] = (5.0, 0.5),
        noise: float = 0.1,
        decay: float = 0.99,
        stride: int = 8,
        purity: float = 0.5,
        tokens: int = 1024,
        temperature: float = 0.6,
        gamma: float = 2.0,
        positive_below: Sequence[float] = (0.78, 0.9),
        negative_above: Sequence[float] = (0.3, 0.5),
    ) -> None:
        super().__init__(
            context,
            consistency_weight=consistency_weight,
            consistency_ramp=consistency_ramp,
            decay=decay,
        )
        if len(beta) != 2 or min(beta) <= 0:
            raise ValueError(f"beta: expected two positive numbers, got {beta}")
        if not 0 <= purity < 1:
            raise ValueError(f"purity: expected a share in [0, 1), got {purity}")
        if tokens < 2:
            raise ValueError(f"tokens: expected at least 2, got {tokens}")
        if temperature < _COLDEST:
            raise ValueError(f"temperature: expected at least {_COLDEST}, got {temperature}")
        if gamma < 0:
            raise ValueError(f"gamma: expected at least 0, got {gamma}")
        limits = {"positive_below": positive_below, "negative_above": negative_above}
        for name, limit in limits.items():
            if len(limit) != 2 or min(limit) < 0:
                raise ValueError(f"{name}: expected two numbers of at least 0, got {limit}")
        self.token_weight, self.beta, self.noise = token_weight, tuple(beta), noise
        self.purity, self.tokens, self.classes = purity, tokens, context.classes
        self.temperature, self.gamma = temperature, gamma
        self.positive_below, self.negative_above = tuple(positive_below), tuple(negative_above)
        self.token_level = nearest_level(stride, self.network.vnet.levels)

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """`cross_entropy`, `dice`, `consistency`, `tokens` and, with alignment, `contrast`."""
        labeled = len(batch.image)
        generator = self.generator(step, batch.image.device)
        seen = torch.cat([batch.image, batch.unlabeled])
        with torch.no_grad():
            teacher = self.teacher(perturb(seen, generator, scale=self.noise))
            taught = teacher.logits.float().softmax(1)
        student = self.network(torch.cat([batch.image, batch.student_view]))
        logits = student.logits.float()
        labels = torch.cat([batch.label, self.confident_labels(taught[labeled:], step)])
        weight = self.unlabeled_weight(step)
        terms = self.supervised_terms(logits[:labeled], batch.label, weight=1)
        terms["consistency"] = weight * unsure_consistency(
            logits.softmax(1), taught, geometric(self.beta, self.progress(step))
        )
        level = self.token_level
        gathered = self._token_contrast(
            student.deep[level], teacher.deep[level], labels, step, generator
        )
        terms["tokens"] = weight * self.token_weight * gathered
        if self.uses_alignment(step):
            terms["contrast"] = self.contrast(self.network, student.deep, labels, generator)
        return terms

    def warm_up(self, batch: Batch) -> dict[str, Tensor]:
        """The student on the labeled patches."""
        return self.supervised_terms(self.network(batch.image).logits, batch.label, weight=1)

    def _token_contrast(
        self,
        features: Tensor,
        taught: Tensor,
        labels: Tensor,
        step: int,
        generator: torch.Generator,
    ) -> Tensor:
        """FeCL of features [B, c, ...] of student and teacher, labels [B, x, y, z]."""
        classes = token_classes(labels, features.shape[2:], self.classes, self.purity)
        chosen = draw_in_turn(classes, self.tokens, generator)
        share = ramp(self.progress(step), self.consistency_ramp)
        below, above = (
            start + (end - start) * share
            for start, end in (self.positive_below, self.negative_above)
        )
        return focal_contrast(
            _rows(features)[chosen].float(),
            _rows(taught)[chosen].float(),
            classes[chosen],
            temperature=self.temperature,
            gamma=self.gamma,
            positive_below=below,
            negative_above=above,
        )


def unsure_consistency(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """UnCL: mean_v [sum_c (P - P')^2 / (e^(b H) + e^(b H')) + b H], a scalar.

    Args:
        student, teacher: probabilities P and P' [B, C, x, y, z].
        beta: b.
    """
    doubt = beta * entropy(student)
    weight = (-torch.logaddexp(doubt, beta * entropy(teacher))).exp()
    return (weight * (student - teacher).square().sum(1) + doubt).mean()


def focal_contrast(
    tokens: Tensor,
    taught: Tensor,
    classes: Tensor,
    *,
    temperature: float,
    gamma: float,
    positive_below: float,
    negative_above: float,
) -> Tensor:
    """FeCL, a scalar: the formula of `DyCON`. The first mean is over tokens that have positives.

    Args:
        tokens, taught: of student and teacher, at the same places, of any length, [K, c].
        classes: [K]; tokens of the class `IGNORED` take no part.
    """
    tokens, taught = F.normalize(tokens, dim=1), F.normalize(taught, dim=1)
    with torch.autocast(tokens.device.type, enabled=False):  # half precision rounds cosines near 1
        cosines, crossed = tokens @ tokens.mT, tokens @ taught.mT
    counted = classes >= 0
    same = classes[:, None] == classes
    negative = ~same & counted[:, None] & counted
    positive = (same & counted).fill_diagonal_(False)  # a token is no positive of itself
    scores = cosines / temperature

    similar = cosines.clamp(_MARGIN, 1 - _MARGIN)  # powers of it have a gradient
    weights = negative * similar.pow(gamma)
    least = torch.finfo(weights.dtype).tiny
    weights = weights * (negative.sum(1) / weights.sum(1).clamp(min=least))[:, None]
    pushed = (weights * scores.exp()).sum(1, keepdim=True)
    hard = positive & (cosines < positive_below)
    pulled = hard * (1 - similar).pow(gamma) * ((scores.exp() + pushed).log() - scores)
    own = pulled.sum(1) / positive.sum(1).clamp(min=1)
    own = own.sum() / positive.any(1).sum().clamp(min=1)

    hard = negative & (crossed > negative_above)
    against = -(hard * (1 + _MARGIN - crossed).log()).sum() / hard.sum().clamp(min=1)
    return own + against


def token_classes(labels: Tensor, shape: Sequence[int], classes: int, purity: float) -> Tensor:
    """The most frequent class of every token, `IGNORED` where its share is not above `purity`: [T].

    Args:
        labels: [B, x, y, z]; `IGNORED` voxels count against every class.
        shape: x, y, z of the tokens' level.
        classes: C.
        purity: a share of all voxels of a token.
    """
    without = labels.where(labels >= 0, classes)
    share, most = token_shares(without, shape, classes + 1)[:, :-1].max(1)
    return most.where(share > purity, IGNORED)


def draw_in_turn(classes: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Places of up to `count` random tokens, as many of every class as it has or a turn allows.

    Args:
        classes: [T]; `IGNORED` tokens come only after all others.

    Returns:
        [min(count, T)], a size that does not depend on values, so no device is waited for.
    """
    shuffled = torch.rand(classes.shape, generator=generator, device=classes.device).argsort()
    order = shuffled[classes[shuffled].argsort(stable=True)]
    sorted_classes = classes[order]
    places = torch.arange(len(order), device=order.device)
    turn = places - torch.searchsorted(sorted_classes, sorted_classes)
    turn = turn.masked_fill(sorted_classes < 0, len(order))
    return order[turn.argsort(stable=True)[:count]]


def nearest_level(stride: int, levels: int) -> int:
    """Which of the three deepest of so many levels is nearest to a stride, 0 the finest of them.

    Raises:
        ValueError: a stride that is no power of 2.
    """
    if stride < 1 or stride & (stride - 1):
        raise ValueError(f"stride: expected a power of 2, got {stride}")
    level = stride.bit_length() - 1
    return min(max(level - (levels - DEEP), 0), DEEP - 1)


def geometric(ends: Sequence[float], share: float) -> float:
    """From the first to the second number by equal factors; `share` in [0, 1]."""
    start, end = ends
    return start * (end / start) ** share


def _rows(features: Tensor) -> Tensor:
    """[B, c, x, y, z] to [T, c]."""
    return features.movedim(1, -1).flatten(0, 3)
