"""A&D: what each decoder learns, and the averaging of the third."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from segmentation.methods.a_d import smoothed
from tests.support.small_parts import CLASSES, LATE, batch, make


def reached(term, weights):
    gradients = torch.autograd.grad(term, weights, retain_graph=True, allow_unused=True)
    return [gradient is not None and bool(gradient.any()) for gradient in gradients]


def test_each_term_teaches_its_own_decoder():
    method = make("a_d", samples=1)
    terms = method.losses(batch(), LATE)
    decoders = {
        "denoise": method.denoiser,
        "difficulty": method.weighted.decoder,
        "pseudo": method.network.vnet.decoder,
    }
    for term, value in terms.items():
        for owner, decoder in decoders.items():
            assert any(reached(value, list(decoder.parameters()))) == (term == owner), (term, owner)


def test_the_weighted_decoder_has_the_class_weights_of_the_denoiser():
    method, patches = make("a_d", samples=1), batch()
    terms = method.losses(patches, LATE)
    with torch.no_grad():
        features = method.network.encode(patches.image)
        logits = method.weighted.logits(features, None)
    weights = method.difficulty
    assert not torch.equal(weights, torch.full_like(weights, CLASSES))
    expected = F.cross_entropy(logits, patches.label, weights)
    expected += method.loss.dice(logits, patches.label, weights)
    assert terms["difficulty"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("bounded", [True, False])
def test_class_weights_have_a_limit_unless_they_are_as_released(bounded):
    method = make("a_d", samples=1, bounded=bounded)
    label = batch().label
    for _ in range(5):
        method.observe_difficulty(torch.zeros_like(label), label)  # organs are never found
        method.observe_difficulty(label.where(label < 2, 0), label)
    assert (method.difficulty.max() <= CLASSES + 1e-4) == bounded


def test_the_inference_decoder_moves_by_a_hundredth_to_the_mean_of_the_others():
    method = make("a_d")
    own = [weight.clone() for weight in method.network.vnet.decoder.parameters()]
    pairs = zip(
        method.denoiser.decoder.decoder.parameters(),
        method.weighted.decoder.parameters(),
        strict=True,
    )
    expected = [0.99 * w + 0.005 * (a + b) for w, (a, b) in zip(own, pairs, strict=True)]
    encoder = [weight.clone() for weight in method.network.vnet.encoder.parameters()]
    method.after_step(0)
    for now, then in zip(method.network.vnet.decoder.parameters(), expected, strict=True):
        torch.testing.assert_close(now.data, then.data)
    for now, then in zip(method.network.vnet.encoder.parameters(), encoder, strict=True):
        assert torch.equal(now, then)


def test_scores_are_smoothed_as_scipy_smooths_them():
    scores = torch.rand(1, 2, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    expected = [
        ndimage.gaussian_filter(s.numpy(), 1.0, mode="nearest", radius=1) for s in scores[0]
    ]
    torch.testing.assert_close(
        smoothed(scores)[0], torch.from_numpy(np.stack(expected)), atol=1e-5, rtol=1e-4
    )


def test_a_step_asks_the_denoiser_as_often_as_it_has_samples():
    method, calls = make("a_d", samples=4), []
    method.denoiser.register_forward_hook(lambda *_: calls.append(1))
    method.losses(batch(), LATE)
    assert len(calls) == 4 + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [({"samples": 0}, "samples: expected 1 to 1000, got 0"),
     ({"average": 1.5}, r"average: expected a share in \[0, 1\], got 1.5")],
)  # fmt: skip
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make("a_d", **options)
