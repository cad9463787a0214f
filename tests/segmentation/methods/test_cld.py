import math

import pytest
import torch

from segmentation.methods.cld import bernoulli_mask, rarity, sampling_rates
from tests.support.small_parts import (
    CLASSES,
    VOXELS,
    batch,
    flat,
    logits_of,
    make,
    rows,
    slow_cross_entropy,
    softmax,
)


def slow_weights(counts):
    return [(max(counts) / n) ** (1 / 3) for n in counts]


def slow_confidence(logits, target):
    """The mean probability of every class over the voxels that have its label."""
    sums, counts = [0.0] * CLASSES, [0] * CLASSES
    for row, label in zip(rows(logits), flat(target), strict=True):
        sums[label] += softmax(row)[label]
        counts[label] += 1
    return sums, counts


def test_a_class_weighs_by_the_cube_root_of_its_rarity_and_an_absent_one_not_infinitely():
    assert rarity(torch.tensor(VOXELS).float(), 1 / 3).tolist() == pytest.approx(
        slow_weights(VOXELS)
    )
    counts = torch.tensor([1000.0, 8.0, 0.0])
    published = (counts.max() / counts).pow(1 / 3)
    assert published[2] == math.inf
    assert rarity(counts, 1 / 3).tolist() == pytest.approx([1, 5, 5])


def test_the_surest_class_is_drawn_least():
    rates = sampling_rates(torch.tensor([[0.9, 0.6, 0.2], [1.0, 1.0, 1.0]]), 0.5)
    assert rates[0].tolist() == pytest.approx([math.sqrt(0.1 / 0.8), math.sqrt(0.5), 1])
    assert rates[1].tolist() == [1, 1, 1]  # 0 / 0 as published


def test_voxels_are_drawn_at_their_rate_and_by_the_generator_alone():
    rates = torch.tensor([0.0, 0.25, 1.0]).repeat_interleave(10_000)
    mask = bernoulli_mask(rates, torch.Generator().manual_seed(3))
    assert mask.reshape(3, -1).mean(1).tolist() == pytest.approx([0, 0.25, 1], abs=0.02)
    assert torch.equal(mask, bernoulli_mask(rates, torch.Generator().manual_seed(3)))


def test_confidence_is_gathered_over_steps_taken_over_once_and_then_averaged():
    method = make("cld", gather_steps=2, momentum=0.9)
    sums, counts, means = [0.0] * CLASSES, [0] * CLASSES, []
    for step in range(4):
        patches = batch(step)
        more, found = slow_confidence(logits_of(method, patches)[0][:2], patches.label)
        sums = [a + b for a, b in zip(sums, more, strict=True)]
        counts = [a + b for a, b in zip(counts, found, strict=True)]
        method.losses(patches, step)
        if step % 2:
            means.append([a / b for a, b in zip(sums, counts, strict=True)])
            sums, counts = [0.0] * CLASSES, [0] * CLASSES
    expected = [0.9 * a + 0.1 * b for a, b in zip(*means, strict=True)]
    assert method.confidence[0].tolist() == pytest.approx(expected, rel=1e-4)


def test_a_class_without_a_labeled_voxel_keeps_its_confidence():
    method = make("cld", gather_steps=1)
    method.losses(batch(0, (0, 1, 2)), 0)
    assert method.confidence[:, 3].tolist() == [0, 0]
    before = method.confidence.clone()
    method.losses(batch(1, (0, 3)), 1)
    assert torch.equal(method.confidence[:, 1:3], before[:, 1:3])
    assert (method.confidence[:, 3] > 0).all()


def test_the_cross_term_is_weighted_and_every_network_has_a_mask_of_its_own():
    method, patches = make("cld", consistency_ramp=0), batch()
    method.confidence.copy_(torch.tensor([[0.9, 0.5, 0.3, 0.0], [0.1, 0.8, 0.3, 0.6]]))
    first, second = logits_of(method, patches)
    generator = method.generator(5, torch.device("cpu"))
    rates = [
        [math.sqrt((1 - k) / (1 - min(row))) for k in row] for row in method.confidence.tolist()
    ]
    masks = []
    for rate, logits in zip(rates, (first, second), strict=True):
        draws = torch.rand(logits[:, 0].shape, generator=generator)
        masks.append((draws < torch.tensor(rate)[logits.argmax(1)]).float())
    total = first[:, 0].numel()
    expected = slow_cross_entropy(
        first, second.argmax(1), slow_weights(VOXELS), masks[0], over=total
    ) + slow_cross_entropy(second, first.argmax(1), slow_weights(VOXELS), masks[1], over=total)
    assert method.losses(patches, 5)["cross"].item() == pytest.approx(expected, rel=1e-4)
