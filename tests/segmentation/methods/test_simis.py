import pytest
import torch

from segmentation.losses import DiceCE
from segmentation.methods.simis import missing_share
from tests.support.small_parts import CLASSES, VOXELS, batch, counts_of, logits_of, make


def slow_share(counts):
    return [CLASSES * (max(counts) - n) / sum(counts) for n in counts]


def test_the_share_that_a_class_lacks():
    assert missing_share(torch.tensor([6.0, 3.0, 1.0, 0.0])).tolist() == pytest.approx(
        [0, 1.2, 2.0, 2.4]
    )
    assert missing_share(torch.zeros(3)).tolist() == [0, 0, 0]
    assert missing_share(torch.tensor([0.0, 9.0, 0.0])).tolist() == [3, 0, 3]


def test_weights_start_near_the_number_of_classes_and_follow_the_guesses_on_all_patches():
    method, patches = make("simis"), batch()
    start = [0.99 * CLASSES + 0.01 * share for share in slow_share(VOXELS)]
    assert method.weights.flatten().tolist() == pytest.approx(2 * start)
    guesses = [z.argmax(1) for z in logits_of(method, patches)]
    method.losses(patches, 0)
    for weights, guess in zip(method.weights, guesses, strict=True):
        new = slow_share(counts_of(guess))
        expected = [0.99 * a + 0.01 * b for a, b in zip(start, new, strict=True)]
        assert weights.tolist() == pytest.approx(expected, rel=1e-5)


def test_the_weight_of_a_class_that_fills_everything_falls_toward_0_without_nan():
    method = make("simis", momentum=0.5)
    with torch.no_grad():
        for network in method.networks:
            network.head.bias[0] += 1000
    for step in range(12):
        terms = method.losses(batch(step, (0,)), step)
    assert method.weights[:, 0].max() < 0.01
    assert all(term.isfinite() for term in terms.values())


def test_each_network_is_taught_by_its_own_weights():
    method, patches = make("simis", consistency_ramp=0, consistency_weight=1), batch()
    first, second = logits_of(method, patches)
    terms = method.losses(patches, 0)
    loss, (a, b) = DiceCE(), method.class_weights()
    cross = loss.cross_entropy(first, second.argmax(1), a)
    cross += loss.cross_entropy(second, first.argmax(1), b)
    torch.testing.assert_close(terms["cross"], cross)
