"""After one step every method's prediction depends on the text with a text head, and only then."""

import pytest
import torch
from torch import nn

from pipeline.config.registry import names
from segmentation.networks.alignments.contrast import Contrast
from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.heads.text import FORMS, TextHead
from segmentation.networks.network import Network
from segmentation.networks.text_block import TextBlock
from segmentation.networks.vnet import VNet
from tests.support import small_parts
from tests.support.small_parts import CLASSES, batch, make_tiny, train


def builder_of(head, form="published"):
    def build(text=True, norm="instance", dropout=0.0):
        def network():
            vnet = VNet(width=4, levels=3, norm=norm, dropout=dropout)
            vectors = 3 * torch.randn(CLASSES, 2, 6)
            is_text = head == "text"
            chosen = TextHead(4, vnet.widths, 2, 6, form=form) if is_text else ConvHead(4, CLASSES)
            contrast = Contrast(vnet.widths, 6, own_deepest=not is_text, samples=(4, 3, 2))
            return Network(vnet, chosen, contrast, vectors)

        return network

    return build


def gradients(method):
    """The gradients of every predictor's logits for the text of its networks, by its name."""
    image = batch(3).image
    found = {}
    for name, predictor in method.predictors().items():
        holders = [part for part in predictor.modules() if "vectors" in part._buffers]
        leaves = []
        for part in holders:
            leaves.append(part._buffers.pop("vectors").detach().clone().requires_grad_())
            part.vectors = leaves[-1]  # a plain attribute, so that a gradient arrives
        weights = torch.randn(CLASSES, generator=torch.Generator().manual_seed(0))
        logits = predictor.eval()(image).logits
        score = (logits * weights[None, :, None, None, None]).sum()
        if score.requires_grad:
            found[name] = torch.autograd.grad(score, leaves, allow_unused=True)
        else:
            found[name] = (None,) * len(leaves)
        for part, leaf in zip(holders, leaves, strict=True):
            del part.vectors
            part.register_buffer("vectors", leaf.detach())
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", names("segmentation.methods"))
def test_logits_depend_on_every_row_of_the_text_with_a_text_head(name, form, monkeypatch):
    monkeypatch.setattr(small_parts, "builder", builder_of("text", form))
    method = make_tiny(name, text=True)
    train(method, 1)
    found = [each for several in gradients(method).values() for each in several]
    assert found
    for gradient in found:
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        # A row whose ReLUs are all dead cannot be read; most must be.
        assert (gradient.flatten(1).abs().amax(1) > 0).sum() >= CLASSES - 1


@pytest.mark.parametrize("name", names("segmentation.methods"))
def test_logits_do_not_depend_on_the_text_with_a_convolution(name, monkeypatch):
    monkeypatch.setattr(small_parts, "builder", builder_of("conv"))
    method = make_tiny(name, text=True)
    train(method, 1)
    found = [each for several in gradients(method).values() for each in several]
    assert found == [None] * len(found) != []


def test_learnable_vectors_are_trained_and_start_with_the_lengths_of_the_bank():
    torch.manual_seed(0)
    vnet, vectors = VNet(width=4, levels=3), 3 * torch.randn(CLASSES, 2, 6)
    network = Network(vnet, TextHead(4, vnet.widths, 2, 6), None, vectors, learnable=True)
    assert isinstance(network.vectors, nn.Parameter)
    torch.testing.assert_close(network.vectors.norm(dim=-1), vectors.norm(dim=-1))
    assert not torch.allclose(network.vectors, vectors)
    before = network.vectors.detach().clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(batch().image).logits[:, 0].mean().backward()
    optimizer.step()
    assert not torch.equal(network.vectors.detach(), before)


@pytest.mark.parametrize("name", names("segmentation.methods"))
def test_logits_depend_on_every_row_of_the_text_with_a_text_block(name, monkeypatch):
    def build(text=True, norm="instance", dropout=0.0):
        def network():
            vnet = VNet(width=4, levels=3, norm=norm, dropout=dropout)
            vectors = 3 * torch.randn(CLASSES, 2, 6)
            blocks = [TextBlock(vnet.widths[-1], CLASSES, 2, 6, norm)]
            return Network(vnet, ConvHead(4, CLASSES), None, vectors, text_blocks=blocks)

        return network

    monkeypatch.setattr(small_parts, "builder", build)
    method = make_tiny(name, text=True)
    train(method, 1)
    image = batch(3).image
    with torch.no_grad():
        for kind, predictor in method.predictors().items():
            before = predictor.eval()(image).logits
            for part in predictor.modules():
                if "vectors" in part._buffers:
                    part.vectors.copy_(part.vectors.flip(0))
            after = predictor(image).logits
            assert not torch.allclose(before, after), kind
            assert after.isfinite().all()
