"""Which labels MagicNet's unlabeled volumes are given, and in which order the contrast sees all."""

import math

import pytest
import torch

from segmentation.methods.base.cubes import draw_exchange, exchange, partition, recover
from segmentation.methods.base.mean_teacher import perturb
from segmentation.networks.alignments.base.alignment import IGNORED
from tests.support.small_parts import LATE, STEPS, batch, make_tiny

EARLY = 0


class Spy:
    """A loss that keeps the targets of its Dice."""

    def __init__(self, loss):
        self.loss, self.targets = loss, []

    def cross_entropy(self, logits, target):
        return self.loss.cross_entropy(logits, target)

    def dice(self, logits, target, mask=None):
        self.targets.append(target)
        return self.loss.dice(logits, target, mask=mask)


@pytest.fixture
def method():
    """Student and teacher are sure of much and disagree; organs were counted."""
    method = make_tiny("magicnet", text=True)
    for network, factor in ((method.network, 30), (method.teacher, -30)):
        network.head.register_forward_hook(lambda head, inputs, out, factor=factor: factor * out)
    method.organ_counts.copy_(torch.tensor([1000.0, 600, 300, 100]))
    method.loss = Spy(method.loss)
    return method


@torch.no_grad()
def guesses(method, patches, step):
    """The teacher's logits of noisy patches, and those with the student's cubes blended in."""
    generator = method.generator(step, torch.device("cpu"))
    sources = draw_exchange(4, 8, generator)
    teacher = method.teacher(perturb(patches.unlabeled, generator)).logits
    weight = (method.organ_counts / 1000)[teacher.argmax(1)][:, None]
    cubes = method.network.encode(partition(patches.unlabeled, (2, 2, 2)).flatten(0, 1))
    whole = [recover(level.unflatten(0, (2, 8)), (2, 2, 2)) for level in cubes]
    decoded = recover(method.network.decode(cubes).unflatten(0, (2, 8)), (2, 2, 2))
    student = method.network.logits(decoded, whole)
    return sources, teacher, (1 - weight) * teacher + weight * student


def sure(logits):
    probabilities = logits.double().softmax(1)
    entropy = -(probabilities * probabilities.clamp(min=1e-12).log()).sum(1)
    ramp = math.exp(-5 * (1 - min(LATE / STEPS / 0.62, 1)) ** 2)
    unsure = entropy > math.log(2) * (0.75 + 0.25 * ramp)
    assert 0.001 < unsure.float().mean() < 0.999
    return logits.argmax(1).masked_fill(unsure, IGNORED)


def differ(one, other):
    return (one != other).float().mean().item()


@pytest.mark.parametrize("step", [EARLY, LATE])
def test_the_consistency_is_to_the_blended_labels_and_at_first_to_the_teachers_alone(method, step):
    patches = batch()
    _, teacher, blended = guesses(method, patches, step)
    method.losses(patches, step)
    expected, other = (teacher, blended) if step == EARLY else (blended, teacher)
    assert differ(method.loss.targets[-1], expected.argmax(1)) < 1e-3
    assert differ(method.loss.targets[-1], other.argmax(1)) > 0.05
    clean = method.teacher(patches.unlabeled).logits.argmax(1)
    assert differ(clean, teacher.argmax(1)) > 0.01  # the noise is seen


def test_the_contrast_sees_whole_mixed_and_recovered_volumes_with_their_labels(method):
    patches, seen = batch(), []
    sources, teacher, blended = guesses(method, patches, LATE)
    align = method.network.align

    def overheard(views, labels, generator):
        seen.append((views, labels))
        return align(views, labels, generator)

    method.network.align = overheard
    method.losses(patches, LATE)
    ((views, labels),) = seen
    label, often, seldom = patches.label, sure(teacher), sure(blended)
    assert differ(labels, torch.cat([label, often, label, often, label, seldom])) < 1e-3
    assert differ(often, seldom) > 0.05

    network, grid = method.network, (2, 2, 2)
    images = torch.cat([patches.image, patches.unlabeled])
    mixed = exchange(images, sources, grid)
    cubes = partition(images, grid).flatten(0, 1)
    whole, crossed, within = (network.contrast.project(network.encode(x)) for x in
                              (images, mixed, cubes))  # fmt: skip
    for view, *parts in zip(views, whole, crossed, within, strict=True):
        again = exchange(parts[1], sources.argsort(0), grid)
        put = recover(parts[2].unflatten(0, (4, 8)), grid)
        torch.testing.assert_close(view, torch.cat([parts[0], again, put]), atol=1e-4, rtol=1e-4)
