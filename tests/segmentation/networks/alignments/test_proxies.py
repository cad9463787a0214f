"""Gaussian class proxies against sums over single tokens, and what their anchors move."""

import pytest
import torch
from torch.nn import functional as F

from segmentation.networks.alignments.base.alignment import IGNORED
from segmentation.networks.alignments.proxies import Proxies, assignment_loss, token_shares

WIDTHS, CLASSES = (4, 6, 8), 3


def make(anchors="both", **options):
    torch.manual_seed(0)
    return Proxies(WIDTHS, 5, own_deepest=True, classes=CLASSES, anchors=anchors, **options)


def material():
    g = torch.Generator().manual_seed(1)
    deep = [torch.randn(2, w, s, s, s, generator=g) for w, s in zip(WIDTHS, (4, 2, 2), strict=True)]
    labels = torch.randint(-1, CLASSES, (2, 8, 8, 8), generator=g)
    return deep, labels, torch.randn(CLASSES, 2, 5, generator=g)


def slow_shares(labels, shape):
    """Count the voxels of each token one by one."""
    rows = []
    for volume in labels:
        for x in range(shape[0]):
            for y in range(shape[1]):
                for z in range(shape[2]):
                    counts = [0] * CLASSES
                    for i, j, k in torch.cartesian_prod(*map(torch.arange, volume.shape)).tolist():
                        at = [p * n // side for p, n, side in zip((i, j, k), shape, volume.shape,
                                                                  strict=True)]  # fmt: skip
                        if at == [x, y, z] and volume[i, j, k] >= 0:
                            counts[int(volume[i, j, k])] += 1
                    total = max(sum(counts), 1)
                    rows.append([count / total for count in counts])
    return torch.tensor(rows)


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 1, 3)])
def test_shares_are_counted_in_the_voxels_of_each_token(shape):
    labels = torch.randint(-1, CLASSES, (2, 4, 4, 6), generator=torch.Generator().manual_seed(0))
    labels[1, :2, :, :2] = IGNORED
    torch.testing.assert_close(token_shares(labels, shape, CLASSES), slow_shares(labels, shape))


def test_the_loss_is_the_sum_over_tokens_and_classes():
    g = torch.Generator().manual_seed(0)
    cosines, shares = torch.rand(5, CLASSES, generator=g), torch.rand(5, CLASSES, generator=g)
    shares[2] = 0  # no labeled voxel
    expected = 0.0
    for token in (0, 1, 3, 4):
        for c in range(CLASSES):
            a, w = float(cosines[token, c]), float(shares[token, c])
            expected += torch.exp(torch.tensor(-(w * a - (1 - w) * a))).item() / CLASSES / 4
            expected += 0.1 * w * (1 - a) / 4
    assert assignment_loss(cosines, shares).item() == pytest.approx(expected, rel=1e-5)


def test_the_mean_cosine_with_samples_is_the_cosine_with_their_mean():
    proxies, mean = make(draws=7), torch.randn(CLASSES, 4)
    spread, token = torch.randn(CLASSES, 4), F.normalize(torch.randn(4), dim=0)
    mixed = proxies._samples(mean, spread, torch.Generator().manual_seed(3))
    noise = torch.randn((7, CLASSES, 4), generator=torch.Generator().manual_seed(3))
    single = [F.normalize(mean + F.softplus(spread) * each, dim=1) @ token for each in noise]
    torch.testing.assert_close(mixed @ token, torch.stack(single).mean(0))


def test_without_spread_the_samples_are_the_normalized_means():
    mean = torch.randn(CLASSES, 4)
    samples = make()._samples(mean, torch.full((CLASSES, 4), -80.0), torch.Generator())
    torch.testing.assert_close(samples, F.normalize(mean, dim=1))


def test_the_anchor_of_the_labels_moves_proxies_alone():
    proxies, (deep, labels, _) = make("labels"), material()
    tokens = deep[0].permute(0, 2, 3, 4, 1).flatten(0, 3).requires_grad_()
    shares = token_shares(labels, deep[0].shape[2:], CLASSES)
    loss = proxies._anchor(proxies.means[0], tokens, shares, None)
    loss.backward()
    assert tokens.grad is None
    assert proxies.means[0].grad.any()
    centers = (shares.mT @ tokens.detach()) / shares.sum(0)[:, None]
    cosines = F.cosine_similarity(proxies.means[0], centers)
    assert loss.item() == pytest.approx(1 - cosines.mean().item(), rel=1e-5)


def test_a_class_that_no_token_has_does_not_pull_its_proxy_and_gives_no_nan():
    proxies, (deep, labels, vectors) = make("labels"), material()
    labels[labels == 2] = IGNORED
    proxies(proxies.project(deep), labels, vectors, None, torch.Generator()).backward()
    assert all(weight.grad.isfinite().all() for weight in proxies.parameters())
    nothing = torch.full_like(labels, IGNORED)
    assert proxies(proxies.project(deep), nothing, vectors, None, torch.Generator()) == 0


@pytest.mark.parametrize(("anchors", "reads"), [("labels", False), ("text", True), ("both", True)])
def test_only_text_anchors_read_the_text(anchors, reads):
    proxies, (deep, labels, vectors) = make(anchors), material()
    losses = [
        proxies(proxies.project(deep), labels, text, None, torch.Generator().manual_seed(0))
        for text in (vectors, vectors.flip(0))
    ]
    assert (losses[0].item() != losses[1].item()) == reads
    assert bool(len(proxies.text)) == reads


@pytest.mark.parametrize(
    ("options", "message"),
    [({"anchors": "texts"}, "anchors: expected one of labels, text, both, got 'texts'"),
     ({"draws": 0}, "draws: expected at least 1, got 0")],
)  # fmt: skip
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
