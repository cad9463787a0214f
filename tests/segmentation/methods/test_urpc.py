import math

import pytest
import torch
from torch.nn import functional as F

from segmentation.methods.urpc import rectified_consistency
from tests.support.small_parts import (
    CLASSES,
    SIDE,
    STEPS,
    batch,
    make,
    rows,
    slow_cross_entropy,
    softmax,
)


@torch.no_grad()
def outputs_of(method, images):
    """Both outputs of a network of three levels, the coarser one enlarged as F.interpolate does."""
    network, side = method.network, method.side[0]
    features = network.encode(images)
    coarse = network.vnet.decoder[1](network.vnet.up[1](features[2]) + features[1])
    small = F.conv3d(coarse, side.weight, side.bias)
    large = F.interpolate(small, scale_factor=2, mode="trilinear", align_corners=False)
    return [network(images).logits, large]


def slow_consistency(outputs):
    """Voxel by voxel and class by class, from logits [B, C, ...] of every output."""
    views = [[softmax(row) for row in rows(logits)] for logits in outputs]
    voxels = len(views[0])
    mean = [
        [sum(p) / len(views) for p in zip(*voxel, strict=True)]
        for voxel in zip(*views, strict=True)
    ]
    total = 0.0
    for view in views:
        squares = trust = divergence = 0.0
        for own, average in zip(view, mean, strict=True):
            kl = sum(q * math.log(q / p) for p, q in zip(own, average, strict=True))
            square = sum((q - p) ** 2 for p, q in zip(own, average, strict=True)) / len(own)
            squares, trust = squares + square * math.exp(-kl), trust + math.exp(-kl)
            divergence += kl
        total += squares / trust + divergence / voxels
    return total / len(views)


def test_every_term_is_its_formula():
    method, patches = make("urpc", consistency_weight=0.7), batch()
    with torch.no_grad():  # outputs that say different things
        method.network.head.weight *= 6
        method.side[0].weight *= 4
    labeled, unlabeled = (outputs_of(method, x) for x in (patches.image, patches.unlabeled))
    terms = {name: term.item() for name, term in method.losses(patches, 40).items()}
    entropies = [slow_cross_entropy(logits, patches.label) for logits in labeled]
    assert terms["cross_entropy"] == pytest.approx(sum(entropies) / 4, rel=1e-4)
    dices = [method.loss.dice(logits, patches.label).item() for logits in labeled]
    assert terms["dice"] == pytest.approx(sum(dices) / 4, rel=1e-4)
    unlabeled_weight = 0.7 * math.exp(-5 * (1 - 40 / STEPS) ** 2)
    assert terms["consistency"] == pytest.approx(
        unlabeled_weight * slow_consistency(unlabeled), rel=1e-4
    )


def test_outputs_that_agree_cost_nothing_and_an_outlier_costs_less_than_its_distance():
    g = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(1, 2, CLASSES, 4, 5, 6, generator=g)
    assert rectified_consistency(logits.repeat(4, 1, 1, 1, 1, 1)).item() == pytest.approx(
        0, abs=1e-6
    )
    outputs = logits.repeat(4, 1, 1, 1, 1, 1)
    outputs[0, ..., 0] = outputs[0, ..., 0].flip(1)  # one output disagrees in one plane
    probabilities = outputs.softmax(2)
    mean = probabilities.mean(0)
    divergence = (mean * (mean / probabilities).log()).sum(2).mean()
    plain = (probabilities - mean).square().mean()
    assert divergence < rectified_consistency(outputs) < divergence + plain


def test_the_mean_teaches_as_well_as_every_output():
    logits = torch.randn(3, 1, CLASSES, 2, 2, 2, requires_grad=True)
    gradient = torch.autograd.grad(rectified_consistency(logits), logits)[0]
    held = logits.detach().clone()
    numeric = torch.zeros_like(held)
    for place in range(held.numel()):
        ends = []
        for sign in (1, -1):
            moved = held.double().flatten().clone()
            moved[place] += sign * 1e-5
            ends.append(rectified_consistency(moved.view_as(held)))
        numeric.view(-1)[place] = (ends[0] - ends[1]) / 2e-5
    torch.testing.assert_close(gradient, numeric, atol=1e-5, rtol=1e-3)


def test_certain_outputs_that_contradict_each_other_have_finite_gradients():
    logits = torch.zeros(2, 1, CLASSES, 2, 2, 2)
    logits[0, :, 0], logits[1, :, 1] = 500, 500
    logits.requires_grad_()
    loss = rectified_consistency(logits)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_side_outputs_learn_in_the_warm_up_and_take_no_part_in_the_prediction():
    method, patches = make("urpc", warmup_steps=50), batch()
    sum(method(patches, 0).values()).backward()
    assert all(weight.grad.any() for weight in method.side.parameters())
    image = torch.rand(1, 1, SIDE, SIDE, SIDE)
    before = method.predict(image)
    with torch.no_grad():
        method.side[0].weight += 1
    assert torch.equal(method.predict(image), before)
