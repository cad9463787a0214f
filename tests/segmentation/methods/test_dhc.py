import math

import pytest
import torch

from segmentation.losses import DiceCE, OrganDiceCE
from segmentation.methods.base.difficulty import hard_dice
from segmentation.methods.dhc import rarity_weights
from tests.support.small_parts import CLASSES, VOXELS, batch, counts_of, flat, logits_of, make


def slow_rarity(counts):
    logs = [math.log((max(counts) + 1e-8) / (n + 1e-8)) for n in counts]
    return [len(counts) * value / max(logs) for value in logs]


def slow_hard_dice(guess, label, c):
    pairs = list(zip(flat(guess), flat(label), strict=True))
    tp = sum(g == c == y for g, y in pairs)
    fp, fn = sum(g == c != y for g, y in pairs), sum(y == c != g for g, y in pairs)
    return (2 * tp + 1e-8) / (2 * tp + fp + fn + 1e-8 + 1e-8)


def test_rarity_is_the_logarithm_of_how_much_rarer_a_class_is():
    expected = torch.tensor(slow_rarity(VOXELS))
    torch.testing.assert_close(rarity_weights(torch.tensor(VOXELS).float()), expected)
    assert expected[0] == 0
    assert expected.max() == CLASSES


def test_an_absent_class_squeezes_all_others_as_published_and_counts_as_the_rarest_here():
    counts = torch.tensor([1000.0, 100.0, 10.0, 0.0])
    published = rarity_weights(counts, absent_as_rarest_present=False)
    assert published.tolist() == pytest.approx([0, 0.364, 0.727, 4], abs=1e-3)
    assert rarity_weights(counts).tolist() == pytest.approx([0, 2, 4, 4], abs=1e-5)


@pytest.mark.parametrize("among_present", [True, False])
def test_rarity_of_one_class_or_of_equal_classes_is_finite(among_present):
    assert rarity_weights(torch.tensor([5.0, 0, 0]), among_present).isfinite().all()
    assert rarity_weights(torch.full((3,), 9.0), among_present).tolist() == [1, 1, 1]


def test_hard_dice_is_one_half_for_a_class_that_both_lack():
    guess, label = torch.randint(0, 3, (2, 2, 3, 4, 5), generator=torch.Generator().manual_seed(0))
    found = hard_dice(guess, label, CLASSES)
    expected = [slow_hard_dice(guess, label, c) for c in range(CLASSES)]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert found[3] == 0.5


def simulate(method, steps, classes):
    """DHC's statistics by loops over classes, as published: no class is left out."""
    state = [{"last": 1e-8, "K": 0.0, "R": 0.0, "W": 1.0} for _ in range(CLASSES)]
    rarity = slow_rarity(VOXELS)
    for step in range(steps):
        patches = batch(step, classes)
        first, second = (z.argmax(1) for z in logits_of(method, patches))
        scores = []
        for c, own in enumerate(state):
            dice = slow_hard_dice(first[:2], patches.label, c)
            change, growth = dice - own["last"], math.log(dice / own["last"])
            own["K"] = 49 / 50 * own["K"] + (change * growth if change > 0 else 0) / 50
            own["R"] = 49 / 50 * own["R"] + (change * growth if change <= 0 else 0) / 50
            own["W"] = 49 / 50 * own["W"] + (1 - dice) / 50
            own["last"] = dice
            scores.append(((own["R"] + 1e-8) / (own["K"] + 1e-8)) ** 0.2 * own["W"])
        new = slow_rarity(counts_of(second[2:]))
        rarity = [0.99 * w + 0.01 * n for w, n in zip(rarity, new, strict=True)]
    return [CLASSES * score / max(scores) for score in scores], rarity


@pytest.mark.parametrize("classes", [range(CLASSES), (0, 1)], ids=["all", "two absent"])
def test_the_published_statistics_are_those_of_a_slow_version(classes):
    method = make("dhc", keep_absent=False)
    for step in range(3):
        method.losses(batch(step, classes), step)
    difficulty, rarity = simulate(method, 3, classes)
    assert method.difficulty.tolist() == pytest.approx(difficulty, rel=1e-3)
    assert method.rarity.tolist() == pytest.approx(rarity, rel=1e-4)


def test_a_class_that_labels_lack_keeps_its_difficulty_statistics():
    ours, published = make("dhc"), make("dhc", keep_absent=False)
    for method in (ours, published):
        method.losses(batch(0), 0)
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    for method in (ours, published):
        method.losses(batch(1, (0, 1)), 1)
    for key in ("last_dice", "learned", "unlearned", "gap"):
        assert torch.equal(ours.state_dict()[key][2:], before[key][2:]), key
        assert not torch.equal(published.state_dict()[key][2:], before[key][2:]), key
    assert not torch.equal(ours.gap[:2], before["gap"][:2])


def test_weights_of_difficulty_teach_a_and_weights_of_rarity_teach_b():
    method, patches = make("dhc", OrganDiceCE(), consistency_ramp=0), batch()
    first, second = logits_of(method, patches)
    terms = method.losses(patches, 0)
    loss, (a, b) = OrganDiceCE(), method.class_weights()
    expected = loss.cross_entropy(first[:2], patches.label, a)
    expected += loss.cross_entropy(second[:2], patches.label, b)
    torch.testing.assert_close(terms["cross_entropy"], expected)
    cross = loss.cross_entropy(first, second.argmax(1), a)
    cross += loss.cross_entropy(second, first.argmax(1), b)
    torch.testing.assert_close(terms["cross"], cross)
    dice = loss.dice(first[:2], patches.label, a) + loss.dice(second[:2], patches.label, b)
    torch.testing.assert_close(terms["dice"], dice)


def test_a_labeled_patch_of_background_alone_gives_b_no_cross_entropy_and_no_nan():
    method, patches = make("dhc", DiceCE()), batch(0, (0,))
    with torch.no_grad():
        method.second.head.bias[0] += 1000
    terms = method.losses(patches, 0)
    first, _ = logits_of(method, patches)
    only_a = DiceCE().cross_entropy(first[:2], patches.label, method.difficulty)
    assert method.rarity[0] == 0
    torch.testing.assert_close(terms["cross_entropy"], only_a)
