"""DeSCO with dense labels: the mask, the shares of the terms."""

import pytest
import torch
from torch.nn import functional as F

from segmentation.losses import DiceCE
from tests.support.small_parts import CLASSES, LATE, batch, logits_of, make


def slow_cross(logits, label, certain):
    """One voxel after the other."""
    losses = F.cross_entropy(logits, label, reduction="none")[certain]
    return losses.mean() if len(losses) else torch.zeros(())


def test_without_noise_the_mask_is_the_entropy_of_the_network_that_gives_the_labels():
    options = {"noise": 0.0, "passes": 2, "consistency_ramp": 0, "consistency_weight": 1.0}
    method, patches = make("desco", **options), batch()
    first, second = logits_of(method, patches)
    terms = method.losses(patches, LATE)
    log_classes = torch.log(torch.tensor(float(CLASSES)))
    certain = [-(z.softmax(1) * z.log_softmax(1)).sum(1) < log_classes for z in (first, second)]
    expected = slow_cross(first, second.argmax(1), certain[1])
    expected += slow_cross(second, first.argmax(1), certain[0])
    torch.testing.assert_close(terms["cross"], expected, rtol=1e-4, atol=1e-6)


def test_the_labeled_share_falls_as_the_cross_share_rises():
    patches = batch()
    for weight in (0.0, 0.25):
        method = make("desco", consistency_ramp=0, consistency_weight=weight, passes=1)
        logits = [z[:2] for z in logits_of(method, patches)]
        terms = method.losses(patches, LATE)
        loss = DiceCE()
        entropy = sum(loss.cross_entropy(z, patches.label) for z in logits)
        dice = sum(loss.dice(z, patches.label) for z in logits)
        torch.testing.assert_close(terms["cross_entropy"], (1 - weight) * entropy / 2)
        torch.testing.assert_close(terms["dice"], (1 - weight) * dice / 2)


def test_without_a_certain_voxel_the_cross_term_is_zero():
    method = make("desco", passes=1)
    with torch.no_grad():
        for network in method.networks:
            network.head.weight.zero_()
            network.head.bias.zero_()  # all classes alike: the largest entropy
    terms = method.losses(batch(), 0)
    assert terms["cross"].item() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"consistency_weight": 1.5}, r"expected a share in \[0, 1\], got 1.5"),
        ({"passes": 0}, "passes: expected at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make("desco", **options)
