import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segmentation.losses import (
    GA,
    LOSSES,
    DiceCE,
    class_counts,
    class_sums,
    entropy,
    ga_cross_entropy,
    ga_dice,
    squared_dice,
)
from tests.support.paths import GOLDEN

GOLDEN = GOLDEN / "ga_losses.npz"


@pytest.fixture
def published():
    values = np.load(GOLDEN)
    logits = torch.tensor(values["logits"], requires_grad=True)
    return values, logits, torch.tensor(values["labels"]).long()


@pytest.mark.parametrize(("top", "gamma"), [(10, 0.5), (100, 0.5), (10, 0.0), (25, 1.0)])
def test_ga_cross_entropy_and_its_gradient_are_the_published_ones(published, top, gamma):
    values, logits, labels = published
    loss = ga_cross_entropy(logits, labels, top_percent=top, gamma=gamma)
    name = f"ga_ce_k{top}_gamma{gamma}"
    assert loss.item() == pytest.approx(float(values[name]), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, logits)
    np.testing.assert_allclose(gradient, values[f"{name}_grad"], atol=1e-7, rtol=1e-4)


def test_ga_dice_and_its_gradient_are_the_published_ones(published):
    values, logits, labels = published
    probabilities = logits.detach().softmax(1).requires_grad_()
    loss = ga_dice(probabilities, labels)
    assert loss.item() == pytest.approx(float(values["ga_dice"]), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, probabilities)
    np.testing.assert_allclose(gradient, values["ga_dice_grad_wrt_prob"], atol=1e-8, rtol=1e-4)


def slow_ga_cross_entropy(logits, labels, top_percent, gamma):
    """Voxel by voxel, as the paper's formula reads."""
    losses = []
    for place in np.ndindex(*labels.shape):
        row = logits[(place[0], slice(None), *place[1:])]
        losses.append((-row.log_softmax(0)[labels[place]].item(), int(labels[place])))
    kept = sorted(losses, reverse=True)[: int(len(losses) * top_percent / 100)]
    counts = {c: sum(label == c for _, label in kept) for _, c in kept}
    return sum(loss / (counts[label] ** (1 - gamma) * len(kept) ** gamma) for loss, label in kept)


def test_ga_cross_entropy_is_its_formula_taken_literally():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 4, 3, 4, 3, generator=generator)
    labels = torch.randint(0, 3, (2, 3, 4, 3), generator=generator)  # class 3 never occurs
    fast = ga_cross_entropy(logits, labels, top_percent=30, gamma=0.4)
    assert fast.item() == pytest.approx(slow_ga_cross_entropy(logits, labels, 30, 0.4), rel=1e-5)


def test_gamma_one_is_the_plain_mean_over_the_hardest_voxels():
    logits, labels = torch.randn(1, 3, 4, 4, 4), torch.randint(0, 3, (1, 4, 4, 4))
    hardest = F.cross_entropy(logits, labels, reduction="none").flatten().topk(16).values
    loss = ga_cross_entropy(logits, labels, top_percent=25, gamma=1.0)
    torch.testing.assert_close(loss, hardest.mean())


def test_squared_dice_is_its_formula_with_one_hot_targets():
    generator = torch.Generator().manual_seed(1)
    p = torch.rand(2, 5, 3, 3, 3, generator=generator).softmax(1)
    target = torch.randint(0, 5, (2, 3, 3, 3), generator=generator)
    t = F.one_hot(target, 5).movedim(-1, 1).float()
    axes = (0, 2, 3, 4)
    expected = 1 - (2 * (p * t).sum(axes) + 1e-10) / ((p**2).sum(axes) + t.sum(axes) + 1e-10)
    torch.testing.assert_close(squared_dice(p, target), expected)


def test_a_perfect_prediction_has_no_dice_loss():
    target = torch.randint(0, 4, (2, 4, 4, 4))
    logits = 200.0 * F.one_hot(target, 4).movedim(-1, 1).float()
    for loss in (DiceCE(), GA()):
        assert loss.dice(logits, target).item() == pytest.approx(0, abs=1e-6)
        assert loss.cross_entropy(logits, target).item() == pytest.approx(0, abs=1e-6)


def test_ga_dice_of_an_absent_class_is_its_mean_square_with_half_the_gradient():
    p = torch.full((1, 2, 2, 2, 2), 0.5, requires_grad=True)
    target = torch.zeros(1, 2, 2, 2, dtype=torch.long)
    loss = ga_dice(p, target)
    assert loss.item() == pytest.approx((squared_dice(p, target)[0].item() + 0.25) / 2)
    (gradient,) = torch.autograd.grad(loss, p)
    torch.testing.assert_close(gradient[0, 1], torch.full((2, 2, 2), 0.5 / 8 / 2))


def test_losses_of_half_precision_logits_are_computed_in_fp32():
    logits = torch.randn(1, 3, 4, 4, 4).to(torch.bfloat16)
    target = torch.randint(0, 3, (1, 4, 4, 4))
    for loss in (DiceCE(), GA()):
        assert loss.dice(logits, target).dtype == torch.float32
        assert loss.cross_entropy(logits, target).dtype == torch.float32


def test_too_few_voxels_for_the_share_are_refused():
    with pytest.raises(ValueError, match="not one voxel"):
        ga_cross_entropy(torch.randn(1, 2, 1, 1, 2), torch.zeros(1, 1, 1, 2, dtype=torch.long))


def test_class_counts_agree_with_bincount():
    target = torch.randint(0, 7, (2, 5, 5, 5))
    assert (
        class_counts(target, 9).tolist() == torch.bincount(target.flatten(), minlength=9).tolist()
    )


def test_sums_over_millions_of_voxels_keep_their_precision():
    generator = torch.Generator().manual_seed(0)
    values = 0.0625 + 0.0003 * torch.rand(2, 3, 96, 96, 96, generator=generator)
    target = torch.zeros(2, 96, 96, 96, dtype=torch.long)
    target[:, :40] = 2
    exact = [values[:, c][target == c].double().sum().item() for c in range(3)]
    assert class_sums(values, target).tolist() == pytest.approx(exact, rel=1e-6)
    assert class_counts(target, 3).tolist() == [2 * 56 * 96**2, 0, 2 * 40 * 96**2]


def test_entropy_is_largest_when_all_classes_are_equally_likely():
    even = torch.full((1, 16, 1), 1 / 16)
    assert entropy(even).item() == pytest.approx(np.log(16), abs=1e-4)
    assert entropy(F.one_hot(torch.tensor([[3]]), 16).movedim(-1, 1).float()).item() < 1e-5


@pytest.mark.parametrize("weight", [None, (1.0, 0.0, 3.0, 0.5)])
@pytest.mark.parametrize("name", LOSSES)
def test_voxels_outside_a_mask_are_as_if_they_were_not_there(name, weight):
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 4, 3, 4, 5, generator=generator).requires_grad_()
    target = torch.randint(0, 3, (2, 3, 4, 5), generator=generator)  # class 3 never occurs
    mask = torch.rand(target.shape, generator=generator) > 0.4
    loss, weight = LOSSES[name](), None if weight is None else torch.tensor(weight)
    inside = logits.movedim(1, -1)[mask].T[None, :, :, None, None]
    for form in (loss.pseudo_cross_entropy, loss.dice):
        within = form(logits, target, weight, mask)
        torch.testing.assert_close(within, form(inside, target[mask][None, :, None, None], weight))
        (gradient,) = torch.autograd.grad(within, logits)
        assert gradient.movedim(1, -1)[mask].any()
        assert not gradient.movedim(1, -1)[~mask].any()


@pytest.mark.parametrize("name", LOSSES)
def test_an_empty_mask_gives_no_loss_and_a_finite_gradient(name):
    logits = torch.randn(1, 4, 3, 4, 5, requires_grad=True)
    target, loss = torch.randint(0, 4, (1, 3, 4, 5)), LOSSES[name]()
    nothing = torch.zeros(target.shape, dtype=torch.bool)
    terms = [
        form(logits, target, mask=nothing)
        for form in (loss.cross_entropy, loss.pseudo_cross_entropy, loss.dice)
    ]
    assert [term.item() for term in terms] == [0, 0, 0]
    assert not torch.autograd.grad(sum(terms), logits)[0].any()


def test_the_hardest_voxels_are_those_within_the_mask():
    logits, target = torch.randn(1, 3, 4, 4, 4), torch.randint(0, 3, (1, 4, 4, 4))
    losses = F.cross_entropy(logits, target, reduction="none")
    mask = losses < losses.flatten().topk(10).values.min()  # all but the ten hardest
    hardest = losses[mask].topk(16).values
    loss = ga_cross_entropy(logits, target, top_percent=25, gamma=1.0, mask=mask)
    torch.testing.assert_close(loss, hardest.mean())
