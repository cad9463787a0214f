import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segmentation.networks.alignments import contrast as source
from segmentation.networks.alignments.base.alignment import IGNORED
from segmentation.networks.alignments.contrast import Contrast, contrast, resize_labels, sample_rows
from tests.support.paths import GOLDEN

GOLDEN = GOLDEN / "contrast.npz"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_contrast_has_the_published_value():
    values = np.load(GOLDEN)
    loss = contrast(
        torch.tensor(values["rows"]), torch.tensor(values["labels"]), float(values["temperature"])
    )
    assert loss.item() == pytest.approx(float(values["loss"]), rel=1e-5)


def test_contrast_is_its_formula_in_a_double_loop():
    rows, kinds = torch.randn(12, 5), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 0, 1])
    unit = F.normalize(rows, dim=1)
    s = (unit @ unit.T / 0.1).double()
    total = 0.0
    for i in range(12):
        positives = [j for j in range(12) if j != i and kinds[j] == kinds[i]]
        negatives = sum(s[i, m].exp() for m in range(12) if kinds[m] != kinds[i])
        inner = sum((s[i, j].exp() / (s[i, j].exp() + negatives)).log() for j in positives)
        total -= float(inner) / (len(positives) + 1e-5)
    assert contrast(rows, kinds, 0.1).item() == pytest.approx(total / 12, rel=1e-4)


def test_rows_that_agree_with_their_class_cost_less():
    axes = torch.eye(4)
    kinds = torch.arange(4).repeat(3)
    tidy, torn = axes.repeat(3, 1), axes.repeat(3, 1).roll(1, 0)[torch.randperm(12)]
    assert contrast(tidy, kinds) < contrast(torn, kinds)


def test_every_class_of_every_volume_gives_up_to_the_asked_number_of_rows():
    labels = torch.randint(0, 4, (3, 6, 6, 6))
    labels[0][labels[0] == 2] = 0
    labels[1, 0, 0, :3] = 3
    labels[2][labels[2] == 1] = IGNORED
    place = torch.arange(labels.numel()).view(3, 1, 6, 6, 6).float()
    rows, kinds = sample_rows(place, labels, 5, 4, generator())
    found = rows[:, 0].long()
    assert len(set(found.tolist())) == len(found)  # without replacement
    assert torch.equal(labels.flatten()[found], kinds)
    for volume in range(3):
        for kind in range(4):
            there = (labels[volume] == kind).sum().item()
            drawn = ((found // 216 == volume) & (kinds == kind)).sum().item()
            assert drawn == min(5, there)


def test_another_generator_draws_other_voxels():
    labels = torch.zeros(1, 8, 8, 8, dtype=torch.long)
    place = torch.arange(512).view(1, 1, 8, 8, 8).float()
    first, again, other = (
        sample_rows(place, labels, 20, 1, generator(seed))[0][:, 0].sort().values
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nearest_labels_keep_ignored_voxels_and_never_mix():
    labels = torch.tensor([[IGNORED, IGNORED, 3, 3]]).view(1, 1, 1, 4).repeat(1, 4, 4, 1)
    assert resize_labels(labels, (2, 2, 2))[0, 0, 0].tolist() == [IGNORED, 3]


def make(own_deepest):
    return Contrast((4, 8, 16), 10, own_deepest=own_deepest, samples=(6, 4, 2))


def test_gradients_reach_features_and_projections_but_not_the_text():
    module = make(own_deepest=True)
    deep = [
        torch.randn(2, width, side, side, side, requires_grad=True)
        for width, side in ((4, 8), (8, 4), (16, 2))
    ]
    labels = torch.randint(0, 3, (2, 16, 16, 16))
    vectors = torch.randn(3, 2, 10)
    loss = module(module.project(deep), labels, vectors, None, generator())
    loss.backward()
    assert loss > 0
    assert all(level.grad.abs().sum() > 0 for level in deep)
    assert all(p.grad is not None for p in module.parameters())


def test_the_deepest_anchors_may_come_from_the_text_head():
    module = make(own_deepest=False)
    shared = torch.randn(3, 2, 16)
    anchors = module.anchors(torch.randn(3, 2, 10), shared)
    assert [tuple(level.shape) for level in anchors] == [(3, 2, 4), (3, 2, 8), (3, 2, 16)]
    assert anchors[-1] is shared


@pytest.mark.parametrize(
    ("options", "message"), [({"samples": (5, 4)}, "3 positive"), ({"temperature": 0}, "positive")]
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Contrast((4, 8, 16), 10, own_deepest=True, **options)


def test_a_volume_without_a_sure_voxel_leaves_the_text_alone_to_teach():
    module = make(own_deepest=True)
    deep = [torch.randn(1, w, s, s, s) for w, s in ((4, 8), (8, 4), (16, 2))]
    labels = torch.full((1, 16, 16, 16), IGNORED)
    vectors = torch.randn(3, 2, 10)
    assert torch.isfinite(module(module.project(deep), labels, vectors, None, generator()))


def plain_contrast(rows, classes, temperature=0.07):
    """The loss with all R x R similarities at once and torch's own gradient."""
    rows, classes = rows[classes >= 0], classes[classes >= 0]
    rows = F.normalize(rows, dim=1)
    scores = rows @ rows.T / temperature
    same = classes[:, None] == classes[None]
    shifted = scores - scores.amax(1, keepdim=True).detach()
    powers = shifted.exp()
    negatives = powers.masked_fill(same, 0).sum(1, keepdim=True)
    terms = shifted - (powers + negatives).log()
    positives = same.clone().fill_diagonal_(False)
    return -((terms * positives).sum(1) / (positives.sum(1) + 1e-5)).mean()


@pytest.mark.parametrize("free", [True, False], ids=["host", "device"])
@pytest.mark.parametrize("block", [1, 7 * 60, 2**22])
def test_contrast_in_blocks_is_the_plain_form_with_its_gradient(block, free, monkeypatch):
    monkeypatch.setattr(source, "_BLOCK_CPU", block)
    monkeypatch.setattr(source, "_BLOCK_GPU", block)
    monkeypatch.setattr(source, "_counts_are_free", lambda device: free)
    classes = torch.randint(-1, 5, (60,), generator=generator())
    classes[7] = 9  # a class of one row has no positive
    rows = torch.randn(60, 8, generator=generator(1)).requires_grad_()
    loss, expected = contrast(rows, classes), plain_contrast(rows, classes)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-5)
    gradients = [torch.autograd.grad(3 * value, rows)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-5)


def test_the_gradient_of_contrast_is_that_of_finite_differences(monkeypatch):
    monkeypatch.setattr(source, "_BLOCK_CPU", 50)
    classes = torch.tensor([2, 0, 0, 1, IGNORED, 1, 2, 2, 0])
    rows = torch.randn(9, 4, generator=generator(), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: contrast(r, classes, 0.3), rows)


def test_rows_of_a_single_class_cost_nothing_and_move_nothing():
    rows = torch.randn(5, 3, generator=generator()).requires_grad_()
    loss = contrast(rows, torch.zeros(5, dtype=torch.long))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert rows.grad.abs().max() == 0


def test_rows_on_a_device_are_never_more_than_its_voxels(monkeypatch):
    labels = torch.randint(-1, 6, (2, 2, 2, 3))
    place = torch.arange(labels.numel()).view(2, 1, 2, 2, 3).float()
    chosen = []
    for free in (True, False):
        monkeypatch.setattr(source, "_counts_are_free", lambda device, free=free: free)
        rows, classes = sample_rows(place, labels, 4, 6, generator())
        chosen.append(sorted(rows[classes >= 0, 0].tolist()))
    assert len(rows) == 2 * 12
    assert chosen[0] == chosen[1]
