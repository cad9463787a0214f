"""Text blocks: the mixture one voxel at a time, rows and codes, no head needed."""

import pytest
import torch

from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.network import Network
from segmentation.networks.text_block import TextBlock
from segmentation.networks.vnet import VNet

CLASSES, ASPECTS, WIDTH = 4, 2, 6


def block(width=8):
    torch.manual_seed(0)
    return TextBlock(width, CLASSES, ASPECTS, WIDTH)


def network(levels=1, vectors=None):
    torch.manual_seed(0)
    vnet = VNet(width=4, levels=3)
    blocks = [TextBlock(w, CLASSES, ASPECTS, WIDTH) for w in vnet.widths[3 - levels :]]
    head = ConvHead(4, CLASSES)
    vectors = torch.randn(CLASSES, ASPECTS, WIDTH) if vectors is None else vectors
    return Network(vnet, head, None, vectors, text_blocks=blocks)


@torch.no_grad()
def test_every_voxel_gets_the_mixture_of_its_own_shares():
    text, features = block(), torch.randn(2, 8, 2, 3, 4)
    vectors = torch.randn(CLASSES, ASPECTS, WIDTH)
    mixture = text.mixture(features, vectors)
    shares = text.shares(features).softmax(1)
    codes = [text.code(row.flatten()) for row in vectors]
    expected = sum(shares[1, c, 0, 2, 3] * codes[c] for c in range(CLASSES))
    torch.testing.assert_close(mixture[1, :, 0, 2, 3], expected)


@torch.no_grad()
def test_exchanged_rows_exchange_their_codes():
    text, features = block(), torch.randn(1, 8, 2, 2, 2)
    vectors = torch.randn(CLASSES, ASPECTS, WIDTH)
    exchanged = vectors[[0, 2, 1, 3]]
    difference = text.mixture(features, exchanged) - text.mixture(features, vectors)
    shares = text.shares(features).softmax(1)
    code = text.code(vectors[2].flatten()) - text.code(vectors[1].flatten())
    expected = (shares[:, [1]] - shares[:, [2]]) * code[None, :, None, None, None]
    torch.testing.assert_close(difference, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_logits_of_a_convolution_depend_on_every_row_of_the_text(levels):
    text = network(levels)
    vectors = text.vectors.clone().requires_grad_()
    del text._buffers["vectors"]
    text.vectors = vectors
    logits = text(torch.rand(1, 1, 16, 16, 16)).logits
    (gradient,) = torch.autograd.grad((logits * torch.randn_like(logits)).sum(), vectors)
    assert (gradient.flatten(1).abs().amax(1) > 0).all()


def test_without_blocks_the_text_has_no_effect_and_the_state_no_new_name():
    one, other = network(0), network(0, torch.zeros(CLASSES, ASPECTS, WIDTH))
    image = torch.rand(1, 1, 16, 16, 16)
    assert torch.equal(one(image).logits, other(image).logits)
    assert not any("text_blocks" in name for name in one.state_dict())


def test_a_class_without_a_voxel_gives_finite_gradients():
    text = network(2)
    logits = text(torch.zeros(1, 1, 16, 16, 16)).logits
    torch.nn.functional.cross_entropy(logits, torch.zeros(1, 16, 16, 16).long()).backward()
    assert all(weight.grad.isfinite().all() for weight in text.parameters())


def test_blocks_without_vectors_are_refused():
    vnet = VNet(width=4, levels=3)
    with pytest.raises(ValueError, match="text blocks need text vectors"):
        Network(vnet, ConvHead(4, CLASSES), text_blocks=[block(16)])
