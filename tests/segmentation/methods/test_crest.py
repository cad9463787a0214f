import pytest
import torch

from segmentation.losses import DiceCE
from segmentation.methods.crest import reversed_rates
from tests.support.small_parts import CLASSES, VOXELS, batch, counts_of, logits_of, make


def slow_rates(counts):
    """Sort by frequency, then hand the rates out from the other end."""
    order = sorted(range(len(counts)), key=lambda c: -counts[c])
    rates = [(counts[c] / max(counts)) ** (1 / 3) for c in order]
    weights = [0.0] * len(counts)
    for rank, c in enumerate(order):
        weights[c] = rates[len(counts) - 1 - rank]
    return weights


def test_the_rarest_class_weighs_1_and_the_most_frequent_least():
    counts = torch.tensor([50.0, 8000.0, 1000.0, 1.0])
    assert reversed_rates(counts, 1 / 3).tolist() == pytest.approx(
        [0.5, 0.05, 50 ** (1 / 3) / 20, 1]
    )
    assert reversed_rates(counts, 1 / 3).tolist() == pytest.approx(slow_rates(counts.tolist()))


def test_absent_classes_take_the_weight_of_the_frequent_ones_away_as_published_but_not_here():
    counts = torch.tensor([1000.0, 0.0, 8.0, 0.0])
    published = reversed_rates(counts, 1 / 3, among_present=False)
    assert published.tolist() == pytest.approx(slow_rates(counts.tolist()))
    assert published.tolist() == pytest.approx([0, 0.2, 0, 1])  # two absent classes, two weights
    assert reversed_rates(counts, 1 / 3).tolist() == pytest.approx([0.2, 1, 1, 1])


@pytest.mark.parametrize("among_present", [True, False])
@pytest.mark.parametrize("counts", [[0.0, 7, 0], [0.0, 0, 0]])
def test_one_class_or_none_makes_no_nan(counts, among_present):
    assert reversed_rates(torch.tensor(counts), 1 / 3, among_present).isfinite().all()


def test_weights_follow_what_each_network_guesses_for_unlabeled_patches():
    method, patches = make("crest", keep_absent=False), batch()
    guesses = [z.argmax(1)[2:] for z in logits_of(method, patches)]
    method.losses(patches, 0)
    for weights, guess in zip(method.weights, guesses, strict=True):
        old, new = slow_rates(VOXELS), slow_rates(counts_of(guess))
        expected = [0.99 * a + 0.01 * b for a, b in zip(old, new, strict=True)]
        assert weights.tolist() == pytest.approx(expected, rel=1e-4)


def test_a_class_that_no_guess_has_keeps_its_weight():
    method = make("crest")
    with torch.no_grad():
        for network in method.networks:
            network.head.bias[2] -= 1000  # no voxel becomes class 2
    before = method.weights.clone()
    method.losses(batch(), 0)
    assert torch.equal(method.weights[:, 2], before[:, 2])
    assert not torch.equal(method.weights, before)


def test_each_network_is_taught_by_its_own_weights():
    method, patches = make("crest", consistency_ramp=0, consistency_weight=1), batch()
    first, second = logits_of(method, patches)
    method.losses(patches, 0)
    terms = method.losses(patches, 1)
    loss, (a, b) = DiceCE(), method.class_weights()
    cross = loss.cross_entropy(first, second.argmax(1), a)
    cross += loss.cross_entropy(second, first.argmax(1), b)
    torch.testing.assert_close(terms["cross"], cross)
    assert len(a) == CLASSES
