import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segmentation.losses import DiceCE
from segmentation.methods.base.blocks import sort_into_blocks
from segmentation.methods.ss_net import Selectors, SSNet, _rated_means, soft_dice_loss
from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.network import Network
from segmentation.networks.vnet import VNet
from tests.support.small_parts import CLASSES, STEPS, batch, context_of, flat, make, rows

RISING = math.exp(-5 * (1 - 40 / STEPS) ** 2)


def slow_soft_dice(one, other):
    """1 - mean Dice of two lists of voxels with C probabilities each."""
    total = 0.0
    for c in range(CLASSES):
        p, q = [voxel[c] for voxel in one], [voxel[c] for voxel in other]
        both = sum(a * b for a, b in zip(p, q, strict=True))
        total += 2 * both / (sum(p) + sum(q))
    return 1 - total / CLASSES


def as_modules(selectors, organ):
    """The same small network made of torch's own layers."""
    width = selectors.first.shape[1]
    plain = nn.Sequential(
        nn.Linear(width, width), nn.BatchNorm1d(width), nn.LeakyReLU(0.2), nn.Linear(width, 1)
    )
    mine = (selectors.first, selectors.first_bias, selectors.scale, selectors.shift)
    values = [part[organ] for part in mine]
    values += [selectors.last[organ][None], selectors.last_bias[organ][None]]
    for weight, value in zip(plain.parameters(), values, strict=True):
        weight.data = value.detach()
    return plain


def remembering(**options):
    """A method that has looked at one batch, and another batch."""
    method = make("ss_net", **options)
    method.losses(batch(1), 39)
    assert (method.filled > 1).any()
    return method, batch()


def test_probabilities_are_compared_by_the_dice_of_all_classes():
    g = torch.Generator().manual_seed(0)
    one, other = (torch.randn(2, CLASSES, 3, 4, 5, generator=g).softmax(1) for _ in range(2))
    expected = slow_soft_dice(rows(one), rows(other))
    assert soft_dice_loss(one, other).item() == pytest.approx(expected, rel=1e-5)
    hard = F.one_hot(one.argmax(1), CLASSES).movedim(-1, 1).float()
    assert soft_dice_loss(hard, hard).item() == pytest.approx(0, abs=1e-6)


def test_smoothness_is_the_loss_at_the_end_of_the_steepest_direction():
    method, patches = make("ss_net", consistency_weight=0.7), batch()
    images = torch.cat([patches.image, patches.unlabeled])
    clean = method.network(images).logits.softmax(1).detach()
    draws = torch.rand(images.shape, generator=method.generator(40, images.device)) - 0.5
    change = torch.stack([patch / patch.square().sum().sqrt() for patch in draws])
    change.requires_grad_()
    soft_dice_loss(method.network(images + 10 * change).logits.softmax(1), clean).backward()
    method.zero_grad()
    worst = torch.stack([10 * patch / patch.square().sum().sqrt() for patch in change.grad])
    changed = method.network(images + worst).logits.softmax(1)
    expected = 0.7 * RISING * slow_soft_dice(rows(changed), rows(clean))
    found = method.losses(patches, 40)["smoothness"]
    assert found.item() == pytest.approx(expected, rel=1e-4)
    weight = method.network.head.weight  # the clean prediction is a target: it does not learn
    own = torch.autograd.grad(0.7 * RISING * soft_dice_loss(changed, clean), weight)[0]
    torch.testing.assert_close(torch.autograd.grad(found, weight)[0], own, atol=1e-6, rtol=1e-3)


def test_the_direction_is_worse_than_random_ones_of_the_same_length():
    method, patches = make("ss_net", reach=1.0, probe=0.1, consistency_ramp=0), batch()
    with torch.no_grad():
        method.network.head.weight *= 8
    found = method.losses(patches, 0)["smoothness"]
    with torch.no_grad():
        images = torch.cat([patches.image, patches.unlabeled])
        clean = method.network(images).logits.softmax(1)
        for seed in range(5):
            draws = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
            change = torch.stack([patch / patch.norm() for patch in draws])
            random = soft_dice_loss(method.network(images + change).logits.softmax(1), clean)
            assert found > random


def test_changed_images_leave_the_running_statistics_alone():
    method, patches = make("ss_net", norm="batch"), batch()
    plain = make("ss_net", norm="batch")
    plain.network(torch.cat([patches.image, patches.unlabeled]))
    method.losses(patches, 0)
    for key, value in method.network.state_dict().items():
        assert torch.equal(value, plain.network.state_dict()[key]), key
    assert all(m.track_running_stats for m in method.modules() if isinstance(m, nn.BatchNorm3d))


def test_a_selector_is_two_linear_layers_around_a_batch_norm_for_every_organ():
    selectors = Selectors(3, 5)
    with torch.no_grad():
        for weight in selectors.parameters():
            weight += 0.1 * torch.randn(weight.shape)
    vectors, kinds = torch.randn(900, 5), torch.randint(0, 4, (900,))
    kinds[kinds == 2] = 0  # an organ without a vector
    blocks = sort_into_blocks(kinds, 3)
    found = blocks.scatter(selectors(blocks.gather(vectors), blocks), len(vectors))
    for organ in (0, 2):
        expected = as_modules(selectors, organ)(vectors[kinds == organ + 1])[:, 0].sigmoid()
        torch.testing.assert_close(found[kinds == organ + 1], expected)
    assert not found[kinds == 0].any()


def slow_separation(method, decoded, label):
    """All pairs of a feature and a remembered vector of the same organ."""
    features = torch.tensor(rows(decoded)).float()
    vectors, kinds = method.prediction(method.projection(features)), flat(label)
    total = 0.0
    for organ in range(CLASSES - 1):
        own = vectors[[kind == organ + 1 for kind in kinds]]
        known = F.normalize(method.memory[organ, : method.filled[organ]], dim=1)
        if len(own) < 2 or len(known) < 2:
            continue
        u = as_modules(method.rate_features, organ)(own)[:, 0].sigmoid()
        v = as_modules(method.rate_memory, organ)(known)[:, 0].sigmoid()
        u, v = u / u.mean(), v / v.mean()
        distances = 1 - F.cosine_similarity(own[:, None], known[None], dim=2)
        total += (u[:, None] * v[None] * distances).mean().item()
    return total / CLASSES


@pytest.mark.parametrize("remembered", [32, 600])  # full, and with places left empty
def test_separation_is_the_rated_mean_distance_of_all_pairs(remembered):
    weights = {"consistency_weight": 0.7, "separation_weight": 0.3}
    method, patches = remembering(remembered=remembered, **weights)
    assert (method.filled[:2] < remembered).any() == (remembered == 600)
    images = torch.cat([patches.image, patches.unlabeled])
    found = method.losses(patches, 40)["separation"].item()
    with torch.no_grad():
        decoded = method.network.decode(method.network.encode(images))
        guess = method.network(images).logits.argmax(1)
        expected = slow_separation(method, decoded[:2], patches.label)
        expected += slow_separation(method, decoded[2:], guess[2:])
    assert expected > 0
    assert found == pytest.approx(0.7 * RISING * 0.3 * expected, rel=1e-3)


def test_a_single_vector_on_either_side_takes_no_part():
    method = make("ss_net", remembered=8)
    method.memory.copy_(torch.randn(method.memory.shape))
    method.filled.copy_(torch.tensor([8, 8, 1]))
    decoded, label = torch.randn(1, 4, 5, 5, 5), torch.zeros(1, 5, 5, 5, dtype=torch.long)
    label[0, 0, 0, 0], label[0, 1], label[0, 2] = 1, 2, 3
    found = method._separation(decoded, label)
    assert found > 0
    assert found.item() == pytest.approx(slow_separation(method, decoded, label), rel=1e-4)


def test_labeled_and_unlabeled_features_are_separated_and_ratings_leave_what_they_rate_alone():
    method, patches = remembering(consistency_ramp=0)
    pulled = {}
    decode = method.network.vnet.decode

    def kept(features):
        decoded = decode(features)
        if "decoded" not in pulled:
            pulled["decoded"] = decoded
        return decoded

    method.network.vnet.decode = kept
    term = method.losses(patches, 40)["separation"]
    gradient = torch.autograd.grad(term, pulled["decoded"])[0].flatten(1)
    assert gradient.any(1).all()
    own = torch.randn(6, 64, requires_grad=True)
    units = F.normalize(torch.randn(6, 64), dim=1).requires_grad_()
    blocks = sort_into_blocks(torch.ones(6, dtype=torch.long), CLASSES - 1)
    mean = _rated_means(units, method.rate_features, own, blocks).square().sum()
    reached = torch.autograd.grad(mean, [own, units, method.rate_features.last], allow_unused=True)
    assert reached[0] is None
    assert reached[1].any()
    assert reached[2].any()


def test_the_steepest_direction_is_found_in_full_precision():
    method, precise = make("ss_net"), []
    method.network.register_forward_hook(
        lambda *_: precise.append(not torch.is_autocast_enabled("cpu"))
    )
    with torch.autocast("cpu", torch.bfloat16):
        method.losses(batch(), 40)
    assert precise == [True, False]  # at the probe, at the end of the direction


@pytest.mark.parametrize(("keep", "best"), [("highest", True), ("lowest", False)])
def test_the_best_rated_of_the_rightly_classified_voxels_are_remembered_or_the_worst_as_released(
    keep, best
):
    method = make("ss_net", keep=keep, remembered=8)
    g = torch.Generator().manual_seed(0)
    decoded, label = torch.randn(1, 4, 6, 6, 6, generator=g), torch.zeros(1, 6, 6, 6).long()
    label[..., :3], label[..., 3] = 1, 2
    guess = label.clone()
    guess[:, :3] = 2  # half of them wrong
    method._remember(decoded, label, guess)
    assert method.filled.tolist() == [8, 8, 0]
    method.projection.eval()
    for organ, kind in enumerate((1, 2)):
        right = (label == kind) & (guess == kind)
        vectors = method.projection(decoded.movedim(1, -1)[right])
        rating = as_modules(method.rate_features, organ)(vectors)[:, 0]
        order = rating.argsort(descending=best)[:8]
        expected = {tuple(vector) for vector in vectors[order].round(decimals=4).tolist()}
        kept = {tuple(vector) for vector in method.memory[organ].round(decimals=4).tolist()}
        assert kept == expected
    assert not method.memory[2].any()


@pytest.mark.parametrize(("remembered", "filled"), [(8, 8), (100, 64)])
def test_an_organ_that_a_step_lacks_stays_in_memory_and_few_voxels_fill_a_part_of_it(
    remembered, filled
):
    method = make("ss_net", remembered=remembered)
    decoded, label = torch.randn(1, 4, 4, 4, 4), torch.ones(1, 4, 4, 4).long()
    method._remember(decoded, label, label)
    before = method.memory[0].clone()
    label = torch.zeros_like(label)
    label[0, 0, 0, :3] = 2
    method._remember(decoded, label, label)
    assert method.filled.tolist() == [filled, 3, 0]
    assert torch.equal(method.memory[0], before)
    assert method.projection.training


def test_cross_entropy_is_added_or_left_out_as_released():
    patches = batch()
    ours, released = make("ss_net"), make("ss_net", with_cross_entropy=False)
    terms, without = ours.losses(patches, 0), released.losses(patches, 0)
    assert set(terms) - set(without) == {"cross_entropy"}
    logits = ours.network(patches.image).logits
    expected = F.cross_entropy(logits, patches.label)
    torch.testing.assert_close(terms["cross_entropy"], expected)
    torch.testing.assert_close(terms["dice"], DiceCE().dice(logits, patches.label))


@pytest.mark.parametrize(("classes", "published"), [(14, 37_914_858), (16, 37_932_336)])
def test_all_weights_but_the_selectors_of_background_are_the_published_ones(classes, published):
    def build():
        return Network(VNet(width=32, norm="batch"), ConvHead(32, classes))

    with torch.device("meta"):
        method = SSNet(context_of(build, classes=classes))
    pair = 2 * (64 * 64 + 64 + 2 * 64 + 64 + 1)
    assert sum(weight.numel() for weight in method.parameters()) + pair == published


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"keep": "best"}, LookupError, "no keep 'best'; there is highest, lowest"),
        ({"remembered": 1}, ValueError, "at least 2 .* not 1 and 64"),
    ],
)
def test_options_that_cannot_be_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        make("ss_net", **options)
