"""KT-CPS: weights against the formula, counts of voxels that are right."""

import math

import pytest
import torch

from segmentation.losses import DiceCE
from segmentation.methods.dhc import rarity_weights
from tests.support.small_parts import CLASSES, VOXELS, batch, logits_of, make


def slow_rarity(counts):
    ratios = [math.log(max(counts) / count) for count in counts]
    return [len(counts) * ratio / max(ratios) for ratio in ratios]


def test_weights_are_the_scaled_logarithms_of_rarity():
    shares = torch.tensor([0.9, 0.05, 0.04, 0.01])
    assert rarity_weights(shares).tolist() == pytest.approx(slow_rarity(shares.tolist()), rel=1e-4)
    assert rarity_weights(shares)[0] == 0
    assert rarity_weights(shares)[3] == 4


def test_only_labeled_voxels_that_are_right_count_and_each_network_for_itself():
    method, patches = make("kt_cps"), batch()
    guesses = [z.argmax(1)[:2] for z in logits_of(method, patches)]
    start = [count / sum(VOXELS) for count in VOXELS]
    method.losses(patches, 0)
    for found, guess in zip(method.found, guesses, strict=True):
        right = [int(((guess == c) & (patches.label == c)).sum()) for c in range(CLASSES)]
        expected = [
            0.99 * old + 0.01 * hits / patches.label.numel()
            for old, hits in zip(start, right, strict=True)
        ]
        assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_each_network_is_taught_by_its_own_weights_and_labels_have_none():
    method, patches = make("kt_cps", consistency_ramp=0, consistency_weight=1), batch()
    first, second = logits_of(method, patches)
    terms = method.losses(patches, 1)
    loss, (a, b) = DiceCE(), map(rarity_weights, method.found)
    cross = loss.cross_entropy(first, second.argmax(1), a)
    cross += loss.cross_entropy(second, first.argmax(1), b)
    torch.testing.assert_close(terms["cross"], cross)
    plain = sum(loss.cross_entropy(z[:2], patches.label) for z in (first, second))
    torch.testing.assert_close(terms["cross_entropy"], plain)


def test_a_momentum_of_one_is_refused():
    with pytest.raises(ValueError, match=r"momentum: expected a number in \[0, 1\), got 1"):
        make("kt_cps", momentum=1)
