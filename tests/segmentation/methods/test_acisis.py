import math

import pytest
import torch

from segmentation.methods.acisis import class_doubts, fused_certainty, released_doubts
from segmentation.methods.cld import sampling_rates
from tests.support.small_parts import (
    CLASSES,
    batch,
    flat,
    make,
    rows,
    slow_cross_entropy,
    softmax,
    train,
)


def slow_doubts(logits, label):
    """Sums over voxels of the three doubts in the true class, and voxels per class."""
    sums, counts = [[0.0] * CLASSES for _ in range(3)], [0] * CLASSES
    for row, c in zip(rows(logits), flat(label), strict=True):
        p = softmax(row)
        doubts = (-sum(q * math.log(q) for q in p), 1 - p[c], max(p) - p[c])
        for total, doubt in zip(sums, doubts, strict=True):
            total[c] += doubt
        counts[c] += 1
    return sums, counts


def slow_released(logits, label):
    """Every patch's probabilities against every patch's labels."""
    sums = [[0.0] * CLASSES for _ in range(3)]
    for one in range(len(logits)):
        for other in range(len(label)):
            pairs = zip(rows(logits[one : one + 1]), flat(label[other : other + 1]), strict=True)
            for row, c in pairs:
                p = softmax(row)
                doubts = (p[c] * sum(math.log(q) for q in p), p[c], max(p) - p[c])
                for total, doubt in zip(sums, doubts, strict=True):
                    total[c] += doubt
    return sums


def slow_certainty(doubts, top, penalty=0.632):
    """Gompertz ranks of the softmax; the penalty for all but the `top` lowest ranks."""
    share, rank = [0.0] * CLASSES, [0.0] * CLASSES
    for doubt in doubts:
        x = softmax(doubt)
        ranks = [1 - math.exp(-math.exp(-2 * value)) for value in x]
        kept = sorted(ranks)[:top]
        for c in range(CLASSES):
            share[c] += x[c] / 3 if ranks[c] in kept else 0
            rank[c] += ranks[c] if ranks[c] in kept else penalty
    fused = [(1 - s) * r for s, r in zip(share, rank, strict=True)]
    return [value / max(fused) for value in fused]


def sample(seed=0):
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(0, CLASSES, (2, 5, 6, 7), generator=g)
    return 2 * torch.randn(2, CLASSES, 5, 6, 7, generator=g), label


def test_doubts_are_sums_over_the_voxels_of_a_class():
    logits, label = sample()
    sums, _ = slow_doubts(logits, label)
    torch.testing.assert_close(
        class_doubts(logits.softmax(1), label), torch.tensor(sums), rtol=1e-3, atol=1e-3
    )


def test_released_doubts_mix_patches_and_double_the_values_of_two():
    logits, label = sample()
    found = released_doubts(logits.softmax(1), label)
    torch.testing.assert_close(found, torch.tensor(slow_released(logits, label)), rtol=1e-4, atol=0)
    twice = released_doubts(
        logits[:1].repeat(2, 1, 1, 1, 1).softmax(1), label[:1].repeat(2, 1, 1, 1)
    )
    alone = released_doubts(logits[:1].softmax(1), label[:1])
    torch.testing.assert_close(twice, 4 * alone)  # of twice as many voxels
    assert (found[0] < 0).all()  # no entropy


@pytest.mark.parametrize("top", [2, 3, 12])
def test_certainty_is_the_fuzzy_fusion(top):
    doubts = torch.rand(3, CLASSES, generator=torch.Generator().manual_seed(1))
    found = fused_certainty(doubts, torch.ones(CLASSES) > 0, top)
    expected = slow_certainty(doubts.tolist(), top)
    assert found.tolist() == pytest.approx(expected, rel=1e-3)


def test_a_class_that_is_unknown_takes_no_part():
    doubts = torch.rand(3, CLASSES, generator=torch.Generator().manual_seed(1))
    known = torch.tensor([True, True, False, True])
    found = fused_certainty(doubts, known, 12)
    torch.testing.assert_close(
        found[known], fused_certainty(doubts[:, known], torch.ones(3) > 0, 12)
    )
    assert found[2] == 0
    alone = fused_certainty(doubts, torch.tensor([False, True, False, False]), 12)
    assert alone.tolist() == [0, 0, 0, 0]


def rates_when_one_class_is_surer(measure):
    """The sampling rates before and after the logits of the voxels of class 2 get clearer."""
    logits, label = sample()
    result = []
    for more in (0.0, 2.0):
        clearer = logits.clone()
        clearer[:, 2] += more * (label == 2)
        means = measure(clearer.softmax(1), label) / torch.bincount(label.flatten())
        result.append(sampling_rates(fused_certainty(means, torch.ones(CLASSES) > 0, 12), 2.5)[2])
    return result


def test_a_class_is_sampled_less_once_it_is_surer_but_the_released_confidence_says_the_opposite():
    before, after = rates_when_one_class_is_surer(class_doubts)
    assert after < before

    def confidence_alone(probabilities, label):
        released = released_doubts(probabilities[:1], label[:1])
        return torch.stack([torch.zeros(CLASSES), released[1], torch.zeros(CLASSES)])

    before, after = rates_when_one_class_is_surer(confidence_alone)
    assert after > before


@torch.no_grad()
def labeled_logits(method, patches):
    return method.network(torch.cat([patches.image, patches.unlabeled])).logits[:2]


def test_certainty_is_an_average_over_rounds_of_the_mean_doubts():
    method = make("acisis", gather_steps=2, momentum=0.9, top=3)
    expected = [0.0] * CLASSES
    for turn in range(2):
        means = torch.zeros(3, CLASSES)
        for step in (2 * turn, 2 * turn + 1):
            sums, counts = slow_doubts(labeled_logits(method, batch(step)), batch(step).label)
            means += torch.tensor(sums) / torch.tensor(counts) / 2
            method.losses(batch(step), step)
        new = slow_certainty(means.tolist(), 3)
        expected = [0.9 * old + 0.1 * value for old, value in zip(expected, new, strict=True)]
    assert method.certainty.tolist() == pytest.approx(expected, rel=2e-3)
    assert not method.sums.any()
    assert not method.visits.any()


def test_an_absent_class_keeps_its_certainty_and_counts_as_zero_in_the_released_means():
    ours, released = (make("acisis", gather_steps=1, doubts=d) for d in ("repaired", "released"))
    for method in (ours, released):
        method.losses(batch(0, (0, 1, 2)), 0)
    assert (ours.certainty[:3] > 0).all()
    assert ours.certainty[3] == 0
    assert released.certainty[3] > 0
    before = ours.certainty.clone()
    ours.losses(batch(1, (0, 3)), 1)
    assert torch.equal(ours.certainty[1:3], before[1:3])
    assert ours.certainty[3] > 0


def test_all_voxels_of_a_class_that_was_never_labeled_are_learned():
    rates = sampling_rates(torch.tensor([0.9, 0.5, 0.0, 0.3]), 2.5)
    assert rates[2] == 1
    assert sampling_rates(torch.zeros(CLASSES), 2.5).tolist() == [1] * CLASSES


def test_the_consistency_is_the_drawn_and_trusted_cross_entropy_against_the_teacher():
    method, patches = make("acisis", consistency_ramp=0, consistency_weight=0.7), batch()
    method.certainty.copy_(torch.tensor([0.9, 0.5, 0.0, 0.6]))
    with torch.no_grad():  # a teacher that differs
        method.teacher.head.weight *= -1
        label = method.teacher(patches.unlabeled).logits.argmax(1)
        logits = method.network(patches.unlabeled).logits
    confidence, guess = logits.softmax(1).max(1)
    rates = torch.tensor([(1 - k) ** 2.5 for k in method.certainty.tolist()])
    draws = torch.rand(guess.shape, generator=method.generator(5, torch.device("cpu")))
    mask = (draws < rates[guess]) * confidence**1.5
    assert 0 < (mask > 0).float().mean() < 1
    expected = 0.7 * slow_cross_entropy(logits, label, mask=mask, over=mask.numel())
    found = method.losses(patches, 5)["consistency"].item()
    assert found == pytest.approx(expected, rel=1e-3)


def test_the_teacher_is_an_average_from_the_second_step_on_or_by_epochs_as_released():
    ours, released = make("acisis"), make("acisis", average_every=4)
    for method in (ours, released):
        train(method, 3)
    assert not torch.equal(ours.teacher.head.weight, ours.network.head.weight)
    assert torch.equal(released.teacher.head.weight, released.network.head.weight)


def test_the_teacher_begins_after_the_warm_up_and_reads_the_statistics_of_its_batch():
    method, modes = make("acisis", warmup_steps=2, norm="batch"), []
    method.teacher.register_forward_hook(lambda teacher, *_: modes.append(teacher.training))
    train(method, 3)
    assert torch.equal(method.teacher.head.weight, method.network.head.weight)
    train(method, 1, first=3)
    assert not torch.equal(method.teacher.head.weight, method.network.head.weight)
    assert modes == [True, True]


def test_the_student_begins_as_kaiming_and_the_teacher_as_the_student():
    method = make("acisis")
    weight = method.network.vnet.encoder[2][1][0].weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (16 * 27)), rel=0.05)
    for key, value in method.teacher.state_dict().items():
        assert torch.equal(value, method.network.state_dict()[key])


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"doubts": "none"}, LookupError, "no doubts 'none'; there is repaired, released"),
        ({"average_every": 0}, ValueError, "average_every must be at least 1, not 0"),
        ({"decay": 1.5}, ValueError, r"decay must be in \[0, 1\], not 1.5"),
        ({"top": 0}, ValueError, "at least 1, not 103, 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        make("acisis", **options)
