"""What the contrast with text is told of unlabeled voxels: whose guess, and where it is sure."""

import math

import pytest
import torch

from segmentation.methods.base.mean_teacher import perturb
from segmentation.networks.alignments.base.alignment import IGNORED
from tests.support.small_parts import LATE, STEPS, batch, make, make_tiny


def outspoken(name):
    """A method with text whose networks are sure of much, and disagree."""
    method = make_tiny(name, text=True)
    heads = [getattr(method, part).head for part in ("network", "second", "teacher")
             if hasattr(method, part)]  # fmt: skip
    for head, factor in zip(heads, (30, -30), strict=False):
        head.register_forward_hook(lambda head, inputs, logits, factor=factor: factor * logits)
    for side in getattr(method, "side", ()):
        side.weight.data *= -30
    return method


def told(method, patches):
    """The arguments that the contrast gets in a step, one tuple per network."""
    calls, contrast = [], method.contrast

    def overheard(network, deep, labels, generator):
        calls.append((network, deep, labels))
        return contrast(network, deep, labels, generator)

    method.contrast = overheard
    method.losses(patches, LATE)
    return calls


def sure(probabilities):
    """The likeliest class, `IGNORED` where the entropy is above TAK's threshold."""
    ramp = math.exp(-5 * (1 - min(LATE / STEPS / 0.621, 1)) ** 2)
    entropy = -(probabilities * probabilities.clamp(min=1e-12).log()).sum(1)
    unsure = entropy > math.log(2) * (0.75 + 0.25 * ramp)
    assert 0.001 < unsure.float().mean() < 0.999
    return probabilities.argmax(1).masked_fill(unsure, IGNORED)


def own(network, method, patches):
    """What a network says of the unlabeled patches, seen together with the labeled ones."""
    images = torch.cat([patches.image, patches.unlabeled])
    return network(images).logits[len(patches.image) :].double().softmax(1)


def mean_of_noisy_passes(method, patches):
    generator = method.generator(LATE, torch.device("cpu"))
    noisy = [perturb(patches.unlabeled, generator) for _ in range(method.passes + 1)]
    looks = [method.teacher(image).logits.double().softmax(1) for image in noisy]
    return torch.stack(looks[1:]).mean(0)  # the first is the target of the consistency


def noisy_pass_over_all_patches(method, patches):
    images = torch.cat([patches.image, patches.unlabeled])
    noisy = perturb(images, method.generator(LATE, torch.device("cpu")))
    return method.teacher(noisy).logits[len(patches.image) :].double().softmax(1)


def mean_of_outputs(method, patches):
    outputs, _ = method._outputs(torch.cat([patches.image, patches.unlabeled]))
    return torch.stack([logits[2:].double().softmax(1) for logits in outputs]).mean(0)


WHO = {
    "ua_mt": mean_of_noisy_passes,
    "dycon": noisy_pass_over_all_patches,
    "acisis": lambda method, patches: method.teacher(patches.unlabeled).logits.double().softmax(1),
    "ss_net": lambda method, patches: own(method.network, method, patches),
    "urpc": mean_of_outputs,
}


@pytest.mark.parametrize("name", WHO)
def test_a_single_network_is_told_what_its_method_trusts(name):
    method, patches = outspoken(name), batch()
    ((network, _, labels),) = told(method, patches)
    with torch.no_grad():
        expected = torch.cat([patches.label, sure(WHO[name](method, patches))])
    assert network is method.network
    assert (labels != expected).float().mean() < 1e-4


@pytest.mark.parametrize("name", ["cps", "dst", "cld"])
def test_of_two_networks_each_is_told_what_the_other_guesses(name):
    method, patches = outspoken(name), batch()
    calls = told(method, patches)
    images = torch.cat([patches.image, patches.unlabeled])
    for (network, deep, _), expected in zip(calls, method.networks, strict=True):
        assert network is expected
        for level, again in zip(deep, network(images).deep, strict=True):
            torch.testing.assert_close(level, again)
    with torch.no_grad():
        first, second = (sure(own(network, method, patches)) for network in method.networks)
    assert (calls[0][2] != torch.cat([patches.label, second])).float().mean() < 1e-4
    assert (calls[1][2] != torch.cat([patches.label, first])).float().mean() < 1e-4
    assert (first != second).float().mean() > 0.1


def test_labels_alone_are_told_without_unlabeled_patches():
    method, patches = outspoken("supervised"), batch()
    ((network, _, labels),) = told(method, patches)
    assert network is method.network
    assert torch.equal(labels, patches.label)


def test_the_contrast_begins_at_its_share_of_the_run_counted_from_the_end_of_the_warm_up():
    for warmup_steps, first in ((0, 25), (60, 70)):
        method = make("supervised", text=True, warmup_steps=warmup_steps)
        method.network.contrast.start = 0.25
        assert [method.uses_alignment(step) for step in (first - 1, first)] == [False, True]


def test_what_unlabeled_patches_teach_rises_from_the_end_of_the_warm_up():
    method = make("cps", warmup_steps=60, consistency_weight=0.7, consistency_ramp=0.5)
    unlabeled_weight = [math.exp(-5), math.exp(-5 * 0.25), 1, 1]
    assert [method.unlabeled_weight(step) for step in (60, 70, 80, 99)] == pytest.approx(
        [0.7 * value for value in unlabeled_weight]
    )
