import math

import pytest
import torch

from segmentation.methods.base.mean_teacher import perturb
from segmentation.methods.ua_mt import masked_difference
from tests.support.small_parts import CLASSES, STEPS, batch, make, rows, softmax, train


def slow_difference(student, teacher, mean, limit, divisor):
    """Squared differences of voxels whose mean prediction has an entropy below the limit."""
    total, kept = 0.0, 0
    for own, target, average in zip(student, teacher, mean, strict=True):
        if -sum(p * math.log(p + 1e-6) for p in average) < limit:
            total += sum((p - q) ** 2 for p, q in zip(own, target, strict=True))
            kept += 1
    return total / (divisor * kept), kept / len(student)


@torch.no_grad()
def views_of(method, patches, step, passes):
    """Student, teacher and mean teacher probabilities per voxel, drawn as the method draws."""
    generator = method.generator(step, torch.device("cpu"))
    looks = [
        method.teacher(perturb(patches.unlabeled, generator)).logits for _ in range(passes + 1)
    ]
    probabilities = [[softmax(row) for row in rows(look)] for look in looks]
    mean = [
        [sum(values) / passes for values in zip(*voxel, strict=True)]
        for voxel in zip(*probabilities[1:], strict=True)
    ]
    student = [softmax(row) for row in rows(method.network(patches.unlabeled).logits)]
    return student, probabilities[0], mean


@pytest.mark.parametrize(("assumed", "classes"), [(None, CLASSES), (2, 2)])
def test_the_consistency_is_its_formula_with_the_classes_counted_or_assumed_to_be_two(
    assumed, classes
):
    method = make("ua_mt", passes=3, assumed_classes=assumed, consistency_weight=0.6)
    with torch.no_grad():  # confident networks, which differ
        method.network.head.weight *= 8
        method.teacher.head.weight *= 7
    patches, step = batch(3), 40
    views = views_of(method, patches, step, 3)
    ramp = math.exp(-5 * (1 - step / STEPS) ** 2)
    limit = math.log(classes) * (0.75 + 0.25 * ramp)
    expected, kept = slow_difference(*views, limit, classes)
    assert 0 < kept < 1
    found = method.losses(patches, step)["consistency"].item()
    assert found == pytest.approx(0.6 * ramp * expected, rel=1e-3)


def test_the_published_division_is_half_the_number_of_classes_too_large_a_loss():
    g = torch.Generator().manual_seed(0)
    student, teacher = (torch.rand(2, CLASSES, 3, 4, 5, generator=g) for _ in range(2))
    mask = torch.rand(2, 3, 4, 5, generator=g) > 0.5
    published = masked_difference(student, teacher, mask, 2)
    ours = masked_difference(student, teacher, mask, CLASSES)
    kept = (student - teacher).square().transpose(0, 1)[:, mask]
    assert ours.item() == pytest.approx(kept.mean().item(), rel=1e-5)
    assert (published / ours).item() == pytest.approx(CLASSES / 2)
    assert masked_difference(student, teacher, mask & False, 2) == 0


def test_half_of_cross_entropy_and_dice_on_labeled_patches():
    method, patches = make("ua_mt", passes=1), batch()
    logits = method.network(patches.image).logits
    terms = method.losses(patches, 0)
    torch.testing.assert_close(
        terms["cross_entropy"], method.loss.cross_entropy(logits, patches.label) / 2
    )
    torch.testing.assert_close(terms["dice"], method.loss.dice(logits, patches.label) / 2)


def test_the_teacher_is_an_average_from_the_second_step_on_or_by_epochs_as_released():
    ours, released = make("ua_mt", passes=1), make("ua_mt", passes=1, average_every=4)
    for method in (ours, released):
        train(method, 3)
    weight, copied = ours.network.head.weight, released.network.head.weight
    assert not torch.equal(ours.teacher.head.weight, weight)
    assert torch.equal(released.teacher.head.weight, copied)
    train(released, 1, first=3)
    before = released.teacher.head.weight.clone()
    train(released, 1, first=4)  # count 1: half of each
    average = (before + released.network.head.weight) / 2
    torch.testing.assert_close(released.teacher.head.weight, average)


def test_the_teacher_looks_with_dropout_so_that_passes_differ():
    method = make("ua_mt", passes=1, dropout=0.5, noise=0.0)
    one, other = (method._teacher_pass(batch().unlabeled, torch.Generator()) for _ in range(2))
    assert method.teacher.training
    assert not torch.equal(one.target, one.mean)
    assert not torch.equal(one.target, other.target)


@pytest.mark.parametrize("option", ["passes", "average_every"])
def test_counts_below_one_are_refused(option):
    with pytest.raises(ValueError, match="at least 1"):
        make("ua_mt", **{option: 0})
