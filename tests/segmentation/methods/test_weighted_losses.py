import math

import pytest
import torch
from torch.nn import functional as F

from segmentation.losses import GA, LOSSES, DiceCE, OrganDiceCE, masked_cross_entropy
from tests.support.small_parts import CLASSES, flat, rows, slow_cross_entropy, softmax

WEIGHT = torch.tensor([0.0, 0.4, 1.3, 4.0])


def sample(seed=0, classes=CLASSES):
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, CLASSES, 4, 5, 6, generator=g)
    return logits.requires_grad_(), torch.randint(0, classes, (2, 4, 5, 6), generator=g)


@pytest.mark.parametrize("loss", [DiceCE(), OrganDiceCE()])
def test_weighted_cross_entropy_is_the_weighted_mean(loss):
    logits, target = sample()
    expected = slow_cross_entropy(logits, target, WEIGHT.tolist())
    assert loss.cross_entropy(logits, target, WEIGHT).item() == pytest.approx(expected, rel=1e-5)
    peer = F.cross_entropy(logits, target, weight=WEIGHT)
    assert torch.allclose(loss.pseudo_cross_entropy(logits, target, WEIGHT), peer)


@pytest.mark.parametrize("name", LOSSES)
def test_equal_weights_of_one_change_nothing(name):
    loss, (logits, target) = LOSSES[name](), sample()
    ones = torch.ones(CLASSES)
    for term in (loss.cross_entropy, loss.pseudo_cross_entropy, loss.dice):
        assert torch.allclose(term(logits, target, ones), term(logits, target))


@pytest.mark.parametrize("name", LOSSES)
def test_background_alone_with_weight_0_is_a_loss_of_0_where_the_published_one_is_nan(name):
    logits, _ = sample()
    target = torch.zeros(2, 4, 5, 6, dtype=torch.long)
    assert F.cross_entropy(logits, target, weight=WEIGHT).isnan()
    value = LOSSES[name]().cross_entropy(logits, target, WEIGHT)
    value.backward()
    assert value == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_organ_dice_leaves_background_out_and_smooths_by_one():
    logits, target = sample(classes=3)  # the last organ is absent
    lost = []
    for organ in range(1, CLASSES):
        tp = fp = fn = 0.0
        for row, label in zip(rows(logits), flat(target), strict=True):
            p = softmax(row)[organ]
            tp, fp, fn = (tp + p, fp, fn + 1 - p) if label == organ else (tp, fp + p, fn)
        lost.append(1 - (2 * tp + 1) / (2 * tp + fp + fn + 1))
    plain = OrganDiceCE().dice(logits, target).item()
    assert plain == pytest.approx(sum(lost) / 3, rel=1e-5)
    weighted = OrganDiceCE().dice(logits, target, WEIGHT).item()
    expected = sum(w * d for w, d in zip(WEIGHT.tolist()[1:], lost, strict=True)) / 3
    assert weighted == pytest.approx(expected, rel=1e-5)


def test_organ_dice_has_the_gradient_of_the_published_negative_dice_and_its_floor_is_0():
    logits, target = sample()
    p, t = logits.softmax(1), F.one_hot(target, CLASSES).movedim(-1, 1)
    tp, total = (p * t).sum((0, 2, 3, 4)), p.sum((0, 2, 3, 4)) + t.sum((0, 2, 3, 4))
    published = -(WEIGHT * (2 * tp + 1) / (total + 1))[1:].mean()
    ours = OrganDiceCE().dice(logits, target, WEIGHT)
    gradients = [
        torch.autograd.grad(value, logits, retain_graph=True) for value in (published, ours)
    ]
    assert published < 0 < ours
    assert torch.allclose(gradients[0][0], gradients[1][0], atol=1e-7)
    perfect = 1000.0 * F.one_hot(target, CLASSES).movedim(-1, 1)
    assert OrganDiceCE().dice(perfect, target, WEIGHT) == pytest.approx(0, abs=1e-6)


def test_ga_looks_at_the_hardest_tenth_of_true_labels_and_at_all_guessed_ones():
    logits, target = sample()
    losses = [
        -math.log(softmax(row)[label])
        for row, label in zip(rows(logits), flat(target), strict=True)
    ]
    pairs = sorted(zip(losses, flat(target), strict=True), reverse=True)

    def slow(percent):
        kept = pairs[: int(len(pairs) * percent / 100)]
        count = [sum(label == c for _, label in kept) for c in range(CLASSES)]
        return sum(
            WEIGHT[label].item() * value / math.sqrt(count[label] * len(kept))
            for value, label in kept
        )

    assert GA().cross_entropy(logits, target, WEIGHT).item() == pytest.approx(slow(10), rel=1e-4)
    guessed = GA().pseudo_cross_entropy(logits, target, WEIGHT).item()
    assert guessed == pytest.approx(slow(100), rel=1e-4)
    assert GA(pseudo_percent=10).pseudo_cross_entropy(logits, target, WEIGHT).item() == (
        pytest.approx(slow(10), rel=1e-4)
    )


@pytest.mark.parametrize("percent", [0, 101])
def test_ga_refuses_a_share_of_voxels_that_cannot_be(percent):
    with pytest.raises(ValueError, match=f"pseudo_percent must be in .0, 100., not {percent}"):
        GA(pseudo_percent=percent)


def test_masked_cross_entropy_is_a_mean_over_all_voxels():
    logits, target = sample()
    mask = (target % 2).float()
    expected = slow_cross_entropy(logits, target, WEIGHT.tolist(), mask, over=target.numel())
    value = masked_cross_entropy(logits, target, mask, WEIGHT).item()
    assert value == pytest.approx(expected, rel=1e-5)
    assert masked_cross_entropy(logits, target, 0 * mask) == 0
