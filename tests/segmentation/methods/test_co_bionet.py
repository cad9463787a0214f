"""Co-BioNet: who learns from which part, and which labels are trusted."""

import pytest
import torch
from torch.nn import functional as F

from tests.support.small_parts import LATE, batch, logits_of, make, train


def reached(term, weights):
    gradients = torch.autograd.grad(term, list(weights), retain_graph=True, allow_unused=True)
    return [gradient is not None and bool(gradient.any()) for gradient in gradients]


def parts(method, patches):
    """The adversarial part and the critic's part of network A."""
    found = {}
    method.observe_kept = method.observe

    def keep(predictions, batch, step):
        found["own"] = predictions[0]
        method.observe_kept(predictions, batch, step)

    method.observe = keep
    method.losses(patches, LATE)
    critic = method.critics[0]
    return (
        method._adversarial(critic, found["own"]),
        method._critic_loss(critic, found["own"], patches.label),
    )


def test_the_adversarial_loss_moves_networks_and_the_critics_loss_critics_alone():
    method = make("co_bionet")
    adversarial, critic = parts(method, batch())
    network, critics = list(method.network.parameters()), list(method.critics[0].parameters())
    assert any(reached(adversarial, network))
    assert not any(reached(adversarial, critics))
    assert not any(reached(critic, network))
    assert any(reached(critic, critics))


def test_trained_critics_learn_and_released_ones_stay():
    for kind in ("trained", "released"):
        method = make("co_bionet", critic=kind)
        before = [weight.clone() for weight in method.critics.parameters()]
        train(method, 2, first=LATE)
        pairs = zip(before, method.critics.parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs) == (kind == "trained")


def test_a_critic_learns_to_tell_labels_from_predictions():
    method, patches = make("co_bionet"), batch()
    critic, optimizer = method.critics[0], torch.optim.Adam(method.critics[0].parameters(), 0.01)
    with torch.no_grad():
        predicted = method.network(patches.image).logits.softmax(1)
    label = F.one_hot(patches.label, 4).movedim(-1, 1).float()
    for _ in range(60):
        optimizer.zero_grad()
        real, fake = critic(label), critic(predicted)
        loss = F.softplus(-real).mean() + F.softplus(fake).mean()
        loss.backward()
        optimizer.step()
    assert real.mean() > fake.mean()
    assert loss < 1.0  # 2 ln 2 = 1.39 for a critic that cannot tell


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_labels_count_where_the_other_networks_critic_is_confident(threshold):
    options = {"threshold": threshold, "consistency_ramp": 0}
    method, patches = make("co_bionet", **options), batch()
    first, second = logits_of(method, patches)
    terms = method.losses(patches, LATE)
    with torch.no_grad():
        trusted = [
            method.critics[number](z.softmax(1)).sigmoid() > threshold
            for number, z in enumerate((first, second))
        ]
    expected = 0.0
    for own, other, mask in ((first, second, trusted[1]), (second, first, trusted[0])):
        losses = F.cross_entropy(own, other.argmax(1), reduction="none")[mask]
        expected += losses.mean().item() if len(losses) else 0.0
    assert terms["cross"].item() == pytest.approx(expected, rel=1e-4)
    assert threshold > 0 or all(mask.all() for mask in trusted)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"threshold": 1.0}, r"threshold: expected a number in \[0, 1\), got 1.0"),
     ({"critic": "train"}, "critic 'train'")],
)  # fmt: skip
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises((ValueError, LookupError), match=message):
        make("co_bionet", **options)
