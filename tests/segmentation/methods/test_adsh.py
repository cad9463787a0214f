import math

import pytest
import torch
from torch.nn import functional as F

from segmentation.methods.adsh import class_thresholds, probability_counts
from tests.support.small_parts import CLASSES, batch, logits_of, make, slow_cross_entropy

BINS = 1000


def slow_thresholds(probabilities, confidence=0.9):
    """Sort all stored probabilities of every class, as published: [B, C, ...] -> C values."""
    classes = probabilities.shape[1]
    columns = probabilities.transpose(0, 1).flatten(1)
    guessed = columns.argmax(0).tolist()
    n = [guessed.count(c) for c in range(classes)]
    most = n.index(max(n))
    share = (columns[most] > confidence).sum().item() / n[most]
    return [
        sorted(columns[c].tolist(), reverse=True)[min(math.floor(share * n[c]), len(guessed) - 1)]
        for c in range(classes)
    ]


def sample(seed, peak=4.0):
    g = torch.Generator().manual_seed(seed)
    logits = peak * torch.randn(3, CLASSES, 6, 7, 8, generator=g)
    logits[:, 0] += 2
    return logits.softmax(1)


@pytest.mark.parametrize("seed", range(5))
def test_a_threshold_from_counts_is_that_of_the_sorted_bank_up_to_one_bin(seed):
    probabilities = sample(seed)
    guessed = torch.bincount(probabilities.argmax(1).flatten(), minlength=CLASSES)
    counts = probability_counts(probabilities, BINS)
    assert counts.sum(1).tolist() == [3 * 6 * 7 * 8] * CLASSES
    found = class_thresholds(counts, guessed, 0.9)
    for value, exact in zip(found.tolist(), slow_thresholds(probabilities), strict=True):
        assert value <= exact <= value + 1 / BINS + 1e-6


def test_the_same_share_of_every_class_passes():
    probabilities = sample(1)
    guess = probabilities.argmax(1)
    guessed = torch.bincount(guess.flatten(), minlength=CLASSES)
    found = class_thresholds(probability_counts(probabilities, BINS), guessed, 0.9)
    passes = probabilities > found[:, None, None, None]
    share = (probabilities[:, 0] > 0.9).sum() / guessed[0]
    for c in range(CLASSES):
        assert passes[:, c].sum() / guessed[c] == pytest.approx(share.item(), abs=0.03)


@pytest.mark.parametrize("sure", [0, 1])
def test_thresholds_of_one_class_alone_are_finite(sure):
    probabilities = torch.zeros(1, CLASSES, 4, 4, 4)
    probabilities[:, 1] = sure
    probabilities[:, 2] = 1 - sure
    guessed = torch.bincount(probabilities.argmax(1).flatten(), minlength=CLASSES)
    found = class_thresholds(probability_counts(probabilities, BINS), guessed, 0.9)
    assert ((found >= 0) & (found <= 1)).all()


def test_until_the_first_refresh_every_guess_teaches():
    method, patches = make("adsh", consistency_weight=1, consistency_ramp=0), batch()
    first, second = logits_of(method, patches)
    plain = slow_cross_entropy(first, second.argmax(1)) + slow_cross_entropy(
        second, first.argmax(1)
    )
    assert method.losses(patches, 0)["cross"].item() == pytest.approx(plain, rel=1e-4)


def test_thresholds_come_from_the_unlabeled_patches_of_the_steps_since_the_last():
    method = make("adsh", refresh_steps=2)
    seen = []
    for step in range(2, 4):
        seen.append(logits_of(method, batch(step))[0][2:].softmax(1))
        method.losses(batch(step), step)
    expected = slow_thresholds(torch.cat(seen))
    assert method.thresholds[0].tolist() == pytest.approx(expected, abs=1.1 / BINS)
    assert not method.histogram.any()
    assert not method.guessed.any()


LIMITS = torch.tensor([[0.4, 0.3, 0.2, 0.35], [0.3, 0.5, 0.27, 0.3]])


def test_a_voxel_below_the_threshold_of_its_class_is_dropped():
    method, patches = make("adsh", consistency_weight=1, consistency_ramp=0), batch()
    method.thresholds.copy_(LIMITS)
    both = logits_of(method, patches)
    total = 0.0
    for own, other in ((0, 1), (1, 0)):
        confidence, label = both[other].softmax(1).max(1)
        mask = (confidence > LIMITS[other][label]).float()
        assert 0 < mask.mean() < 1
        total += slow_cross_entropy(both[own], label, mask=mask, over=mask.numel())
    assert method.losses(patches, 0)["cross"].item() == pytest.approx(total, rel=1e-4)


def test_the_released_mask_multiplies_logits_so_that_a_masked_voxel_costs_ln_c():
    options = {"mask": "channels", "consistency_weight": 1, "consistency_ramp": 0}
    method, patches = make("adsh", **options), batch()
    method.thresholds.copy_(LIMITS)
    first, second = logits_of(method, patches)
    keep = [
        z.softmax(1) > t[:, None, None, None] for z, t in zip((first, second), LIMITS, strict=True)
    ]
    expected = F.cross_entropy(first * keep[1], second.argmax(1))
    expected += F.cross_entropy(second * keep[0], first.argmax(1))
    torch.testing.assert_close(method.losses(patches, 0)["cross"], expected)
    method.thresholds.fill_(1)
    assert method.losses(patches, 0)["cross"].item() == pytest.approx(2 * math.log(CLASSES))
    ours = make("adsh", consistency_weight=1, consistency_ramp=0)
    ours.thresholds.fill_(1)
    assert ours.losses(patches, 0)["cross"] == 0


def test_an_unknown_mask_is_answered_with_the_known():
    with pytest.raises(LookupError, match="no mask 'cubes'; there is voxels, channels"):
        make("adsh", mask="cubes")
