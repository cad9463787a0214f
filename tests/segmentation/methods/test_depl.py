import math

import pytest
import torch

from segmentation.methods.depl import debiased
from tests.support.small_parts import (
    CLASSES,
    SIDE,
    batch,
    flat,
    logits_of,
    make,
    rows,
    slow_cross_entropy,
    softmax,
)

PRIOR = [0.7, 0.2, 0.06, 0.04]


def slow_targets(logits, prior, strength):
    """Confidence and class of every voxel with the prior divided out of its probabilities."""
    found = []
    for row in rows(logits):
        odds = [p / q**strength for p, q in zip(softmax(row), prior, strict=True)]
        found.append((max(odds) / sum(odds), odds.index(max(odds))))
    return found


def test_a_target_is_the_guess_with_the_prior_divided_out():
    g = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, CLASSES, 3, 4, 5, generator=g)
    prior = torch.tensor(PRIOR)[:, None, None, None]
    confidence, label = debiased(logits, prior, 0.8).softmax(1).max(1)
    expected = slow_targets(logits, PRIOR, 0.8)
    assert flat(label) == [c for _, c in expected]
    assert flat(confidence) == pytest.approx([p for p, _ in expected], rel=1e-5)
    assert torch.equal(debiased(logits, prior, 0), logits)


def test_the_prior_follows_the_mean_probability_of_each_class_on_unlabeled_patches():
    method, patches = make("depl"), batch()
    means = [z[2:].softmax(1).mean((0, 2, 3, 4)) for z in logits_of(method, patches)]
    method.losses(patches, 0)
    for prior, mean in zip(method.prior, means, strict=True):
        torch.testing.assert_close(prior.flatten(), 0.99 / CLASSES + 0.01 * mean)
    torch.testing.assert_close(method.prior.sum(1).flatten(), torch.ones(2))


def test_the_released_code_keeps_a_prior_per_position_of_its_crops():
    method, patches = make("depl", prior="voxel"), batch()
    mean = logits_of(method, patches)[0][2:].softmax(1).mean(0)
    method.losses(patches, 0)
    assert method.prior.shape == (2, CLASSES, SIDE, SIDE, SIDE)
    torch.testing.assert_close(method.prior[0], 0.99 / CLASSES + 0.01 * mean)


@pytest.mark.parametrize("margin", [0.0, 1.0], ids=["released", "paper"])
def test_the_cross_term_masks_unsure_targets_and_shifts_unlabeled_logits_by_the_margin(margin):
    method = make("depl", margin=margin, threshold=0.6, consistency_ramp=0)
    patches = batch()
    method.prior.copy_(torch.tensor(PRIOR)[None, :, None, None, None])
    both = logits_of(method, patches)
    moved = [
        0.99 * method.prior[0].flatten() + 0.01 * z[2:].softmax(1).mean((0, 2, 3, 4)) for z in both
    ]
    total = 0.0
    for own, other in ((0, 1), (1, 0)):
        pairs = slow_targets(both[other], PRIOR, 1)
        shape = both[0][:, 0].transpose(0, 0).shape
        order = torch.arange(math.prod(shape)).reshape(shape)
        places = flat(order)
        label, mask = torch.zeros(math.prod(shape)).long(), torch.zeros(math.prod(shape))
        for place, (confidence, c) in zip(places, pairs, strict=True):
            label[place], mask[place] = c, float(confidence >= 0.6)
        shifted = both[own].clone()
        shifted[2:] += margin * moved[other].log()[:, None, None, None]
        assert 0 < mask.mean() < 1
        total += slow_cross_entropy(
            shifted, label.reshape(shape), mask=mask.reshape(shape), over=mask.numel()
        )
    assert method.losses(patches, 0)["cross"].item() == pytest.approx(total, rel=1e-4)


def test_the_prior_stays_finite_when_the_networks_know_one_class_alone():
    method = make("depl", momentum=0.1)
    with torch.no_grad():
        for network in method.networks:
            network.head.bias[0] += 1000
    for step in range(60):
        with torch.no_grad():
            terms = method.losses(batch(0), step)
    assert all(term.isfinite() for term in terms.values())


def test_an_unknown_prior_is_answered_with_the_known():
    with pytest.raises(LookupError, match="no prior 'image'; there is class, voxel"):
        make("depl", prior="image")
