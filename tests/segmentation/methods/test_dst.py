import math

import pytest
import torch

from segmentation.methods.dst import DST, _Reversed, worst_case
from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.network import Network
from segmentation.networks.vnet import VNet
from tests.support.small_parts import (
    CLASSES,
    STEPS,
    batch,
    context_of,
    flat,
    make,
    rows,
    slow_cross_entropy,
    softmax,
    train,
)


def views_of(method, patches):
    """Logits [4, C, ...] of main, pseudo and worst decoder, for both networks."""
    images = torch.cat([patches.image, patches.unlabeled])
    views = []
    for network, pseudo, worst in zip(method.networks, method.pseudo, method.worst, strict=True):
        features = network.encode(images)
        views.append((network(images).logits, pseudo(features), worst(features)))
    return views


def slow_cross(learner, giver, threshold):
    """Cross-entropy against the giver's labels where it is sure; a mean over all voxels."""
    confidence, label = giver.detach().softmax(1).max(1)
    mask = (confidence > threshold).float()
    assert 0 < mask.mean() < 1
    return slow_cross_entropy(learner, label, mask=mask, over=mask.numel())


def slow_worst(logits, label):
    """Right on the first two patches, wrong on the last two."""
    right = slow_cross_entropy(logits[:2], label[:2])
    missed = 0.0
    for row, kind in zip(rows(logits[2:]), flat(label[2:]), strict=True):
        missed -= math.log(min(1 - softmax(row)[kind] + 1e-6, 1))
    return 2 * right + missed / label[2:].numel()


@pytest.mark.parametrize(("roles", "learns", "gives"), [("paper", 1, 0), ("released", 0, 1)])
def test_every_term_is_its_formula(roles, learns, gives):
    method = make("dst", roles=roles, threshold=0.3, consistency_weight=0.7)
    patches = batch()
    with torch.no_grad():
        first, second = views_of(method, patches)
    cross = slow_cross(first[learns], second[gives], 0.3)
    cross += slow_cross(second[learns], first[gives], 0.3)
    worst = sum(slow_worst(view[2], view[0].argmax(1)) for view in (first, second))
    unlabeled_weight = 0.7 * math.exp(-5 * (1 - 40 / STEPS) ** 2)
    terms = {name: term.item() for name, term in method.losses(patches, 40).items()}
    assert terms["cross"] == pytest.approx(unlabeled_weight * cross, rel=1e-4)
    assert terms["worst"] == pytest.approx(unlabeled_weight * worst, rel=1e-4)
    labeled = sum(slow_cross_entropy(view[0][:2], patches.label) for view in (first, second))
    assert terms["cross_entropy"] == pytest.approx(labeled, rel=1e-4)


def test_a_worst_decoder_that_is_right_on_labeled_and_wrong_on_unlabeled_patches_costs_nothing():
    label = torch.randint(0, CLASSES, (4, 2, 3, 4), generator=torch.Generator().manual_seed(0))
    said = torch.cat([label[:2], (label[2:] + 1) % CLASSES])
    logits = 60.0 * torch.nn.functional.one_hot(said, CLASSES).movedim(-1, 1)
    assert worst_case(logits, label, 2).item() == pytest.approx(0, abs=1e-5)
    opposite = torch.cat([logits[2:], logits[:2]])
    swapped = torch.cat([label[2:], label[:2]])
    cost = worst_case(opposite, swapped, 2).item()
    assert cost == pytest.approx(2 * 60 - math.log(1e-6), rel=1e-2)


def test_the_reversed_gradient_grows_from_nothing_to_its_limit():
    method = make("dst", reversal=0.2, reversal_steps=10, warmup_steps=5)
    for step, expected in ((5, 0), (15, 0.4 / (1 + math.exp(-1)) - 0.2), (99, 0.2)):
        assert method._reversal_at(step) == pytest.approx(expected, abs=1e-4)
    features = torch.randn(3, requires_grad=True)
    (_Reversed.apply(features, 0.2) * torch.tensor([1.0, 2, 3])).sum().backward()
    torch.testing.assert_close(features.grad, -0.2 * torch.tensor([1.0, 2, 3]))
    assert torch.equal(_Reversed.apply(features, 0.2), features)


def test_the_worst_decoder_descends_while_the_encoder_ascends():
    method, patches = make("dst", consistency_ramp=0, reversal_steps=1), batch()
    step = 40  # the reversal has reached its limit of 0.1
    encoder = method.network.vnet.encoder[0][0][0].weight
    head = method.worst[0].head.weight
    (_, _, worst), _ = views_of(method, patches)
    images = torch.cat([patches.image, patches.unlabeled])
    label = method.network(images).logits.argmax(1)
    plain = torch.autograd.grad(worst_case(worst, label, 2), [encoder, head])
    found = torch.autograd.grad(method.losses(patches, step)["worst"], [encoder, head])
    torch.testing.assert_close(found[0], -0.1 * plain[0], atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(found[1], plain[1])


@pytest.mark.parametrize(("roles", "reached"), [("paper", True), ("released", False)])
def test_pseudo_decoders_learn_and_as_released_get_no_gradient_at_all(roles, reached):
    method = make("dst", roles=roles, threshold=0.3)
    before = {key: value.clone() for key, value in method.pseudo.named_parameters()}
    sum(method(batch(), 90).values()).backward()
    gradients = [weight.grad for weight in method.pseudo.parameters()]
    assert all((gradient is not None) == reached for gradient in gradients)
    train(method, 2, first=90)
    moved = [not torch.equal(before[key], value) for key, value in method.pseudo.named_parameters()]
    assert any(moved) == reached


def test_main_decoders_learn_from_labels_alone():
    method, patches = make("dst", threshold=0.3), batch()
    weight = method.network.head.weight
    terms = method.losses(patches, 90)
    for name in ("cross", "worst"):
        reached = torch.autograd.grad(terms[name], weight, retain_graph=True, allow_unused=True)
        assert reached == (None,), name


@pytest.mark.parametrize(("classes", "published"), [(14, 54_343_786), (16, 54_343_984)])
def test_a_network_with_its_decoders_has_the_published_number_of_weights(classes, published):
    def build():
        return Network(VNet(width=32, norm="batch"), ConvHead(32, classes))

    with torch.device("meta"):
        method = DST(context_of(build, classes=classes))
    parts = (method.network, method.pseudo[0], method.worst[0])
    assert sum(w.numel() for part in parts for w in part.parameters()) == published


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"roles": "swapped"}, LookupError, "no roles 'swapped'; there is paper, released"),
        ({"reversal_steps": 0}, ValueError, "at least 1, not 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        make("dst", **options)
