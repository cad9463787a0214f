"""DyCON: both losses against loops in float64, what is repaired, the classes of tokens, memory."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segmentation.losses import DiceCE
from segmentation.methods.dycon import (
    draw_in_turn,
    focal_contrast,
    geometric,
    nearest_level,
    token_classes,
    unsure_consistency,
)
from segmentation.networks.alignments.base.alignment import IGNORED
from segmentation.networks.alignments.contrast import contrast
from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.network import Network
from segmentation.networks.vnet import VNet
from tests.support import small_parts
from tests.support.small_parts import CLASSES, LATE, batch, make, make_tiny, rows

LIMITS = {"temperature": 0.6, "gamma": 2.0, "positive_below": 0.8, "negative_above": 0.3}


def probabilities(seed, scale=2.0):
    g = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(2, CLASSES, 3, 4, 5, generator=g, dtype=torch.float64)).softmax(1)


def slow_entropy(row):
    return -sum(p * math.log(p + 1e-6) for p in row)


def slow_consistency(student, teacher, beta):
    """The published UnCL, voxel by voxel."""
    total = 0.0
    for p, q in zip(rows(student), rows(teacher), strict=True):
        own, other = slow_entropy(p), slow_entropy(q)
        squares = sum((a - b) ** 2 for a, b in zip(p, q, strict=True))
        total += squares / (math.exp(beta * own) + math.exp(beta * other)) + beta * (own + other)
    return total / len(rows(student))


@pytest.mark.parametrize("beta", [5.0, 1.3, 0.5])
def test_the_consistency_is_the_published_one_less_the_entropy_of_the_teacher(beta):
    student, teacher = probabilities(0), probabilities(1)
    constant = beta * sum(map(slow_entropy, rows(teacher))) / len(rows(teacher))
    expected = slow_consistency(student, teacher, beta) - constant
    assert unsure_consistency(student, teacher, beta).item() == pytest.approx(expected, rel=1e-9)


def test_the_gradient_of_the_consistency_is_that_of_the_published_loop():
    logits = torch.randn(1, 3, 1, 2, 2, dtype=torch.float64, generator=torch.manual_seed(0))
    teacher = torch.randn(1, 3, 1, 2, 2, dtype=torch.float64).softmax(1)
    leaf = logits.clone().requires_grad_()
    unsure_consistency(leaf.softmax(1), teacher, 2.0).backward()
    for place in range(logits.numel()):
        step = torch.zeros(logits.numel(), dtype=torch.float64)
        step[place] = 1e-5
        step = step.view_as(logits)
        ends = [slow_consistency((logits + s * step).softmax(1), teacher, 2.0) for s in (1, -1)]
        assert leaf.grad.flatten()[place].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, 1e-5)


def test_a_student_does_not_gain_by_being_unsure():
    teacher = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1)
    sure_and_wrong = torch.tensor([1e-4, 1 - 1e-4]).view(1, 2, 1, 1, 1)
    unsure = torch.full((1, 2, 1, 1, 1), 0.5)
    for beta in (0.5, 5.0):
        values = [unsure_consistency(p, teacher, beta) for p in (unsure, teacher)]
        assert values[0] > values[1] == pytest.approx(0, abs=1e-4)
        weighted = unsure_consistency(sure_and_wrong, teacher, beta)
        assert weighted == pytest.approx(1, abs=0.01)  # 2 / (1 + 1)


def test_entropies_of_many_classes_at_a_large_beta_make_neither_infinity_nor_nan():
    logits = torch.zeros(1, 105, 2, 2, 2, requires_grad=True)
    value = unsure_consistency(logits.softmax(1), torch.full_like(logits, 1 / 105), 50.0)
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def test_beta_falls_by_equal_factors_from_the_first_to_the_second_number():
    assert [geometric((5.0, 0.5), share) for share in (0, 0.25, 0.5, 1)] == pytest.approx(
        [5 * 0.1**share for share in (0, 0.25, 0.5, 1)]
    )


def tokens_of(seed, count=30, width=5):
    g = torch.Generator().manual_seed(seed)
    own, taught = (
        torch.randn(count, width, generator=g, dtype=torch.float64) + 0.5 for _ in range(2)
    )
    return own, taught, torch.randint(-1, 4, (count,), generator=g)


def slow_contrast(own, taught, classes, temperature, gamma, positive_below, negative_above):
    """FeCL of DyCON's docstring, one pair after the other."""

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    own, taught, classes = own.tolist(), taught.tolist(), classes.tolist()
    anchors, against = [], []
    places = [place for place, kind in enumerate(classes) if kind != IGNORED]
    for i in places:
        pulled, positives, powers, weights = 0.0, 0, [], []
        for m in places:
            if classes[m] != classes[i]:
                close = cosine(own[i], own[m])
                weights.append(min(max(close, 0.001), 0.999) ** gamma)
                powers.append(math.exp(close / temperature))
                crossed = cosine(own[i], taught[m])
                if crossed > negative_above:
                    against.append(-math.log(1.001 - crossed))
        weighted = sum(w * e for w, e in zip(weights, powers, strict=True))
        pushed = len(powers) * weighted / sum(weights) if powers else 0.0
        for j in places:
            if classes[j] == classes[i] and j != i:
                positives += 1
                close = cosine(own[i], own[j])
                power = math.exp(close / temperature)
                if close < positive_below:
                    focus = (1 - min(max(close, 0.001), 0.999)) ** gamma
                    pulled -= focus * math.log(power / (power + pushed))
        if positives:
            anchors.append(pulled / positives)
    mean = sum(anchors) / len(anchors) if anchors else 0.0
    return mean + (sum(against) / len(against) if against else 0.0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0.1, "gamma": 0.5},
        {"positive_below": 0.0},
        {"negative_above": 1.0},
        {"positive_below": 2.0, "negative_above": 0.0, "gamma": 0.0},
    ],
)
def test_the_contrast_is_that_of_a_loop_over_pairs(changes):
    own, taught, classes = tokens_of(1)
    options = {**LIMITS, **changes}
    expected = slow_contrast(own, taught, classes, **options)
    value = focal_contrast(own, taught, classes, **options).item()
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_gradient_of_the_contrast_is_that_of_the_loop():
    own, taught, classes = tokens_of(2, count=8, width=3)
    leaf = own.clone().requires_grad_()
    focal_contrast(leaf, taught, classes, **LIMITS).backward()
    for place in range(own.numel()):
        step = torch.zeros(own.numel(), dtype=torch.float64)
        step[place] = 1e-6
        step = step.view_as(own)
        ends = [slow_contrast(own + s * step, taught, classes, **LIMITS) for s in (1, -1)]
        expected = (ends[0] - ends[1]) / 2e-6
        assert leaf.grad.flatten()[place].item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("classes", [[IGNORED] * 4, [1, IGNORED, IGNORED, IGNORED], [0, 1, 2, 3]])
def test_without_pairs_the_contrast_is_finite(classes):
    own = torch.randn(4, 3, requires_grad=True)
    value = focal_contrast(own, own.detach(), torch.tensor(classes), **LIMITS)
    value.backward()
    assert value.isfinite()
    assert own.grad.isfinite().all()
    assert classes == [0, 1, 2, 3] or value == 0


def unit(degrees):
    """Unit vectors in a plane at these angles."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)


FAR = torch.tensor([[-1.0, 0.0]], dtype=torch.float64)  # a teacher's token near none of these


def of_pairs(degrees, classes, **changes):
    """The contrast at these angles and its gradient by each token's direction."""
    own = unit(degrees).requires_grad_()
    far = FAR.expand(len(degrees), 2)
    value = focal_contrast(own, far, torch.tensor(classes), **{**LIMITS, **changes})
    return value, torch.autograd.grad(value, own)[0]


def test_the_limit_of_positives_excludes_easy_pairs():
    degrees, classes = [0, 30, 60], [0, 0, 1]  # the positives' cosine is 0.87
    easy, gradient = of_pairs(degrees, classes, positive_below=0.8)
    assert easy == 0
    assert not gradient.any()
    kept, gradient = of_pairs(degrees, classes, positive_below=0.9)
    assert kept > 0
    assert gradient[0].any()


def test_of_two_positives_the_harder_one_weighs_more_also_among_many_negatives():
    many = [80.0] * 500
    ratio = []
    for gamma in (0.0, 2.0):
        near, far = (
            of_pairs([0, angle, *many], [0, 0, *[1] * 500], gamma=gamma, negative_above=0.0)[0]
            for angle in (40, 75)
        )
        # With 500 negatives the logarithms of both pairs are almost alike.
        ratio.append((far / near).item())
    assert ratio[1] > 3 * ratio[0]


def released_contrast(own, classes, gamma_of_negatives):
    """The student's part of the released loss, pair by pair (KU-CVML/DyCON at 69c1384)."""
    cosines = (own @ own.T / 0.6).tolist()
    total = 0.0
    for i, kind in enumerate(classes):
        negatives = sum(math.exp(cosines[i][m]) for m, c in enumerate(classes) if c != kind)
        summed, positives = 0.0, 0
        for j, other in enumerate(classes):
            share = math.exp(cosines[i][j]) / (math.exp(cosines[i][j]) + negatives)
            loss = -math.log(share) if other == kind and j != i else 0.0
            if other == kind and share < 1.3:
                weight = (1 - share) ** 2
            elif other != kind and share > 0.3:
                weight = share**gamma_of_negatives
            else:
                weight = 1.0
            summed += weight * loss
            positives += other == kind and j != i
        total += summed / max(positives, 1)
    return total / len(classes)


def test_weights_of_negatives_count_here_and_not_in_the_released_form():
    degrees, classes = [0, 50, 20, 85], [0, 0, 1, 1]
    released = [released_contrast(unit(degrees), classes, gamma) for gamma in (0.5, 8.0)]
    assert released[0] == released[1]
    # Two positives, each 25 degrees from one negative and 155 from the other. The weights are 1 in
    # the mean, so that both negatives count alike, or for a large gamma the near one counts twice.
    pull, near, far = (math.exp(math.cos(math.radians(angle)) / 0.6) for angle in (50, 25, 155))
    for gamma, pushed in ((0.0, near + far), (20.0, 2 * near)):
        value, _ = of_pairs([-25, 25, 0, 180], [0, 0, 1, 2], gamma=gamma, negative_above=2.0)
        focus = (1 - math.cos(math.radians(50))) ** gamma
        assert value.item() == pytest.approx(focus * math.log((pull + pushed) / pull), rel=1e-9)


def test_without_focus_and_limits_it_is_the_supervised_contrast():
    own, _, classes = tokens_of(3, count=200)
    classes = classes.clamp(min=0)
    plain = {"gamma": 0.0, "positive_below": 2.0, "negative_above": 1.0}
    value = focal_contrast(own, own, classes, temperature=0.07, **plain)
    torch.testing.assert_close(value, contrast(own, classes, 0.07), rtol=1e-4, atol=0)


def test_a_teachers_token_of_another_class_in_the_same_direction_gives_a_bounded_loss():
    own = unit([0, 0]).float().requires_grad_()
    value = focal_contrast(own, own.detach(), torch.tensor([0, 1]), **LIMITS)
    gradient = torch.autograd.grad(value, own)[0]
    assert value.item() == pytest.approx(-math.log(1e-3), rel=1e-2)
    assert gradient.isfinite().all()


def slow_classes(labels, shape, purity):
    """The class of every cell of a grid, voxel by voxel."""
    found = []
    for volume in labels:
        cells = [side // size for side, size in zip(volume.shape, shape, strict=True)]
        for x in range(shape[0]):
            for y in range(shape[1]):
                for z in range(shape[2]):
                    i, j, k = (p * c for p, c in zip((x, y, z), cells, strict=True))
                    cell = volume[i : i + cells[0], j : j + cells[1], k : k + cells[2]]
                    cell = cell.flatten().tolist()
                    shares = [cell.count(c) / len(cell) for c in range(CLASSES)]
                    top = max(range(CLASSES), key=shares.__getitem__)
                    found.append(top if shares[top] > purity else IGNORED)
    return found


@pytest.mark.parametrize("purity", [0.0, 0.4, 0.5])
def test_a_token_has_the_class_of_most_of_its_voxels_unsure_ones_counted(purity):
    g = torch.Generator().manual_seed(0)
    labels = torch.multinomial(
        torch.tensor([0.3, 0.45, 0.1, 0.05, 0.1]), 2 * 512, True, generator=g
    )
    labels = (labels - 1).view(2, 8, 8, 8)
    found = token_classes(labels, (4, 2, 4), CLASSES, purity).tolist()
    assert found == slow_classes(labels, (4, 2, 4), purity)
    assert purity == 0 or {IGNORED, 0} <= set(found)


def test_tokens_are_drawn_class_by_class_in_turn_and_ignored_ones_last():
    classes = torch.tensor([0] * 50 + [1] * 3 + [2] * 20 + [IGNORED] * 10)
    drawn = classes[draw_in_turn(classes, 30, torch.Generator().manual_seed(0))]
    # 3 turns give 9; the other 21 come from two classes, the first of which has the odd one.
    assert [int((drawn == kind).sum()) for kind in (0, 1, 2, IGNORED)] == [14, 3, 13, 0]
    everything = draw_in_turn(classes, 1000, torch.Generator().manual_seed(0))
    assert sorted(everything.tolist()) == list(range(83))
    assert (classes[everything[-10:]] == IGNORED).all()


def test_which_tokens_are_drawn_is_a_matter_of_the_generator_and_of_chance():
    classes = torch.zeros(200, dtype=torch.int64)
    first, again, other = (
        draw_in_turn(classes, 50, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert set(first.tolist()) != set(other.tolist())
    counts = torch.zeros(200)
    g = torch.Generator().manual_seed(0)
    for _ in range(400):
        counts[draw_in_turn(classes, 50, g)] += 1
    assert abs(counts - 100).max() < 45  # a share of 1/4 of 400 draws, 5 deviations


def test_tokens_are_of_the_stride_asked_for_or_of_the_nearest_of_the_deepest_levels():
    levels_of = {3: (1, 2, 4), 4: (2, 4, 8), 5: (4, 8, 16), 7: (16, 32, 64)}
    for levels, strides in levels_of.items():
        for stride in (1, 2, 4, 8, 16, 128):
            nearest = min(strides, key=lambda each, stride=stride: abs(math.log2(each / stride)))
            assert strides[nearest_level(stride, levels)] == nearest


def narrow_network(levels):
    def build(text=False, norm="instance", dropout=0.0):
        def network():
            return Network(VNet(width=2, levels=levels), ConvHead(2, CLASSES))

        return network

    return build


@pytest.mark.parametrize(("levels", "cell"), [(3, 4), (4, 8), (5, 8)])
def test_tokens_of_the_default_stride_are_an_eighth_or_the_deepest(levels, cell, monkeypatch):
    monkeypatch.setattr(small_parts, "builder", narrow_network(levels))
    method = make("dycon")
    deep = method.network(torch.rand(1, 1, 32, 32, 32)).deep[method.token_level]
    assert deep.shape[2:] == (32 // cell,) * 3


def outputs(method, patches):
    """What student and teacher say of all patches, without noise."""
    images = torch.cat([patches.image, patches.unlabeled])
    return method.network(images), method.teacher(images)


def distinct(**options):
    """A method whose teacher says something else than its student, and surely."""
    method = make_tiny("dycon", noise=0.0, consistency_ramp=0, **options)
    other = make_tiny("dycon", seed=5)
    method.teacher.load_state_dict(other.network.state_dict())
    with torch.no_grad():
        method.teacher.head.weight *= 30
    return method


def test_all_terms_of_a_step_are_their_formulas_on_labels_and_confident_pseudo_labels():
    method, patches = distinct(tokens=10_000), batch()
    student, teacher = outputs(method, patches)
    taught = teacher.logits.softmax(1)
    pseudo = taught[2:].argmax(1)
    unsure = -(taught[2:] * taught[2:].log()).sum(1) > math.log(2)  # the full threshold
    assert 0.01 < unsure.float().mean() < 0.99
    labels = torch.cat([patches.label, pseudo.masked_fill(unsure, IGNORED)])
    classes = torch.tensor(slow_classes(labels, (4, 4, 4), 0.2))
    assert len(set(classes[128:].tolist())) > 1
    flat = [each.deep[2].double().flatten(2).mT.flatten(0, 1) for each in (student, teacher)]
    gathered = slow_contrast(*flat, classes, 0.6, 2.0, 0.9, 0.5)
    agreed = slow_consistency(student.logits.double().softmax(1), taught.double(), 5 * 0.1**0.9)
    agreed -= 5 * 0.1**0.9 * sum(map(slow_entropy, rows(taught))) / len(rows(taught))
    terms = method.losses(patches, LATE)
    loss = DiceCE()
    assert terms["cross_entropy"].item() == pytest.approx(
        loss.cross_entropy(student.logits[:2], patches.label).item(), rel=1e-5
    )
    assert terms["dice"].item() == pytest.approx(
        loss.dice(student.logits[:2], patches.label).item(), rel=1e-5
    )
    assert terms["consistency"].item() == pytest.approx(0.5 * agreed, rel=1e-4)
    assert terms["tokens"].item() == pytest.approx(0.5 * gathered, rel=1e-3)


def test_classes_of_unlabeled_tokens_are_the_teachers_and_its_doubt_takes_them_out():
    method, patches = distinct(), batch()
    seen, contrast = [], method._token_contrast

    def overheard(features, taught, labels, step, generator):
        seen.append(labels)
        return contrast(features, taught, labels, step, generator)

    method._token_contrast = overheard
    method.losses(patches, LATE)
    with torch.no_grad():
        method.network.head.bias += torch.randn(CLASSES)
        method.losses(patches, LATE)  # the student's mind is of no account
        method.teacher.head.weight.zero_()
        method.teacher.head.bias.zero_()
        method.losses(patches, LATE)
    first, same, doubting = seen
    assert torch.equal(first, same)
    assert torch.equal(doubting[:2], patches.label)
    assert (doubting[2:] == IGNORED).all()


class Largest(TorchDispatchMode):
    """The largest tensor that is made."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.elements = max(self.elements, leaf.numel())
        return result


def test_no_matrix_of_a_96_cubed_patch_has_more_than_the_stated_size():
    method = make("dycon", tokens=512)
    features = torch.rand(4, 4, 12, 12, 12, requires_grad=True)
    labels = torch.zeros(4, 96, 96, 96, dtype=torch.int64)
    labels[:, 30:70], labels[:, 70:80] = 1, 2
    classes = token_classes(labels, (12, 12, 12), CLASSES, 0.5)
    with Largest() as largest:
        chosen = draw_in_turn(classes, method.tokens, torch.Generator().manual_seed(0))
        tokens = features.movedim(1, -1).flatten(0, 3)[chosen]
        focal_contrast(tokens, tokens.detach(), classes[chosen], **LIMITS).backward()
    assert largest.elements == 512**2
    with Largest() as largest:
        value = method._token_contrast(
            features, features.detach(), labels, LATE, torch.Generator().manual_seed(0)
        )
        value.backward()
    assert value > 0
    assert largest.elements == labels.numel()  # all 6912 tokens would make 48 million pairs


def test_a_step_in_bfloat16_agrees_with_one_in_fp32():
    method, patches = distinct(), batch()
    plain = method(patches, LATE)
    with torch.autocast("cpu", torch.bfloat16):
        half = method(patches, LATE)
    for name, value in plain.items():
        assert half[name].dtype == torch.float32
        assert half[name].item() == pytest.approx(value.item(), rel=0.1), name


def test_the_token_loss_gathers_the_features_of_a_class():
    torch.manual_seed(0)
    tokens = nn.Parameter(torch.randn(60, 8))
    classes = torch.arange(60) % 3
    optimizer = torch.optim.SGD([tokens], lr=5.0)

    def gap():
        units = F.normalize(tokens.detach(), dim=1)
        cosines, same = units @ units.T, classes[:, None] == classes
        return (cosines[same].mean() - cosines[~same].mean()).item()

    before = gap()
    for _ in range(200):
        optimizer.zero_grad()
        focal_contrast(tokens, tokens.detach(), classes, **LIMITS).backward()
        optimizer.step()
    assert gap() > before + 0.4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": (5.0, 0.0)}, r"beta: expected two positive numbers, got \(5.0, 0.0\)"),
        ({"beta": (5.0,)}, "beta: expected two positive numbers"),
        ({"purity": 1.0}, r"purity: expected a share in \[0, 1\), got 1.0"),
        ({"tokens": 1}, "tokens: expected at least 2, got 1"),
        ({"temperature": 0.001}, "temperature: expected at least 0.02, got 0.001"),
        ({"gamma": -1.0}, "gamma: expected at least 0, got -1.0"),
        ({"stride": 6}, "stride: expected a power of 2, got 6"),
        ({"positive_below": (0.5,)}, "positive_below: expected two numbers of at least 0"),
        ({"negative_above": (-0.1, 0.5)}, "negative_above: expected two numbers of at least 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make("dycon", **options)
