import math

import pytest
import torch

from segmentation.losses import GA, ga_cross_entropy
from segmentation.networks.vnet import initialize
from tests.support.small_parts import (
    CLASSES,
    STEPS,
    batch,
    flat,
    logits_of,
    make,
    rows,
    slow_cross_entropy,
    softmax,
)


def slow_dice(logits, target):
    """1 - mean over all classes of the squared Dice."""
    lost = []
    for c in range(CLASSES):
        overlap = squares = count = 0.0
        for row, label in zip(rows(logits), flat(target), strict=True):
            p = softmax(row)[c]
            overlap, squares, count = (
                overlap + p * (label == c),
                squares + p * p,
                count + (label == c),
            )
        lost.append(1 - 2 * overlap / (squares + count))
    return sum(lost) / CLASSES


def test_every_term_is_its_formula():
    method, patches = make("cps", consistency_weight=0.7), batch()
    first, second = logits_of(method, patches)
    terms = {name: term.item() for name, term in method.losses(patches, 40).items()}
    label = patches.label
    cross_entropy = sum(slow_cross_entropy(z[:2], label) for z in (first, second))
    dice = sum(slow_dice(z[:2], label) for z in (first, second))
    cross = slow_cross_entropy(first, second.argmax(1)) + slow_cross_entropy(
        second, first.argmax(1)
    )
    ramp = math.exp(-5 * (1 - 40 / STEPS) ** 2)
    assert terms["cross_entropy"] == pytest.approx(cross_entropy, rel=1e-4)
    assert terms["dice"] == pytest.approx(dice, rel=1e-4)
    assert terms["cross"] == pytest.approx(0.7 * ramp * cross, rel=1e-4)


def test_galoss_on_cps_sums_the_hardest_tenth_of_labels_and_all_guesses():
    method, patches = make("cps", GA(), consistency_weight=0.1, consistency_ramp=0), batch()
    first, second = logits_of(method, patches)
    terms = method.losses(patches, 0)
    supervised = sum(
        ga_cross_entropy(z[:2], patches.label, top_percent=10) for z in (first, second)
    )
    guessed = ga_cross_entropy(first, second.argmax(1), top_percent=100) + ga_cross_entropy(
        second, first.argmax(1), top_percent=100
    )
    torch.testing.assert_close(terms["cross_entropy"], supervised)
    torch.testing.assert_close(terms["cross"], 0.1 * guessed)


def test_no_gradient_passes_through_a_guess():
    method, patches = make("cps", consistency_ramp=0), batch()
    first, second = logits_of(method, patches)
    images = torch.cat([patches.image, patches.unlabeled])
    own = torch.nn.functional.cross_entropy(method.network(images).logits, second.argmax(1))
    weight = method.network.head.weight
    alone = torch.autograd.grad(own, weight)[0]
    together = torch.autograd.grad(method.losses(patches, 0)["cross"], weight)[0]
    torch.testing.assert_close(together, alone)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("name", "schemes"), [("cps", "kx"), ("dhc", "kk"), ("cld", "kx")])
def test_the_networks_begin_as_published(name, schemes):
    method = make(name)
    for network, scheme in zip(method.networks, schemes, strict=True):
        weight = network.vnet.encoder[2][1][0].weight  # 16 -> 16 channels, 27 voxels
        spread = {"k": math.sqrt(2 / (16 * 27)), "x": math.sqrt(2 / (32 * 27))}[scheme]
        assert weight.std().item() == pytest.approx(spread, rel=0.05)


def test_every_network_has_an_initialization_of_its_own():
    with pytest.raises(ValueError, match=r"need two initializations, not \['xavier'\]"):
        make("cps", initialization=["xavier"])


def test_an_unknown_initialization_is_answered_with_the_known():
    with pytest.raises(LookupError, match="kaiming, xavier"):
        initialize(make("cps").network, "orthogonal")
