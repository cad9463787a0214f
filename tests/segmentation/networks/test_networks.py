import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segmentation.losses import GA
from segmentation.methods.base.method import MethodContext
from segmentation.methods.magicnet import MagicNet
from segmentation.networks.alignments.contrast import Contrast
from segmentation.networks.heads.base.generated import PARAMETERS, apply_generated
from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.heads.text import FORMS, TextHead
from segmentation.networks.network import Branch, Network, text_vectors, with_current_names
from segmentation.networks.vnet import VNet, initialize
from tests.support.paths import GOLDEN

GOLDEN = GOLDEN / "head.npz"


def count(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def text_network(width=16, levels=5, classes=16, text_width=512, aspects=2, form="published"):
    vnet = VNet(width=width, levels=levels)
    vectors = torch.randn(classes, aspects, text_width)
    deep = vnet.widths[-3:]
    head = TextHead(width, deep, aspects, text_width, form=form)
    return Network(vnet, head, Contrast(deep, text_width, own_deepest=False), vectors)


def test_tak_has_the_published_number_of_parameters():
    given = MethodContext(text_network, GA(), 1, classes=16, patch=(96,) * 3)
    method = MagicNet(given, location_bias=False)
    assert count(method) == 18_679_740
    assert count(method.network.vnet) == 9_443_232
    assert count(method.location) == 8_507_419


@pytest.mark.parametrize(("classes", "parameters"), [(14, 17_954_985), (16, 17_955_019)])
def test_magicnet_has_the_published_number_of_parameters(classes, parameters):
    def build():
        return Network(VNet(), ConvHead(16, classes))

    method = MagicNet(MethodContext(build, GA(), 1, classes=classes, patch=(96,) * 3))
    assert count(method) == parameters


@pytest.mark.parametrize(("width", "norm", "classes", "parameters"), [
    (16, "batch", 14, 9_449_070), (16, "batch", 16, 9_449_104),
    (32, "batch", 14, 37_778_126), (32, "batch", 16, 37_778_192),
])  # fmt: skip
def test_the_other_v_nets_have_the_published_number_of_parameters(width, norm, classes, parameters):
    network = Network(VNet(width=width, norm=norm), ConvHead(width, classes))
    assert count(network) == parameters


def test_generated_heads_give_the_published_logits():
    values = {name: torch.tensor(array) for name, array in np.load(GOLDEN).items()}
    logits = apply_generated(values["features"], values["parameters"])
    torch.testing.assert_close(logits, values["logits"], atol=1e-5, rtol=1e-5)


def test_generated_heads_are_the_formula_class_by_class_and_voxel_by_voxel():
    parameters, features = torch.randn(2, 3, PARAMETERS), torch.randn(2, 8, 2, 3, 2)
    logits = apply_generated(features, parameters)
    for b in range(2):
        for c in range(3):
            p = parameters[b, c]
            w1, w2, w3 = p[:64].view(8, 8), p[64:128].view(8, 8), p[128:136]
            b1, b2, b3 = p[136:144], p[144:152], p[152]
            for place in np.ndindex(2, 3, 2):
                h = features[(b, slice(None), *place)]
                z = w3 @ F.relu(w2 @ F.relu(w1 @ h + b1) + b2) + b3
                torch.testing.assert_close(logits[(b, c, *place)], z, atol=1e-4, rtol=1e-4)


def plain_generated(features, parameters):
    """The same networks in one go, with autograd's own gradients and no chunks."""
    batch, classes, _ = parameters.shape
    w1, w2, w3, b1, b2, b3 = parameters.split([64, 64, 8, 8, 8, 1], dim=-1)
    h = features.flatten(2)[:, None]
    one = F.relu(w1.view(batch, classes, 8, 8) @ h + b1[..., None])
    two = F.relu(w2.view(batch, classes, 8, 8) @ one + b2[..., None])
    three = w3.view(batch, classes, 1, 8) @ two + b3[..., None]
    return three.view(batch, classes, *features.shape[2:])


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_logits_and_gradients_in_chunks_are_those_of_the_plain_head(device):
    shapes = (2, 8, 17, 13, 11), (2, 5, PARAMETERS)  # more voxels than a chunk, and not a multiple
    inputs = [torch.randn(shape, device=device, requires_grad=True) for shape in shapes]
    weight = torch.randn(2, 5, 17, 13, 11, device=device)
    results = []
    for head in (apply_generated, plain_generated):
        logits = head(*inputs)
        results.append((logits, *torch.autograd.grad((logits * weight).sum(), inputs)))
    for chunked, plain in zip(*results, strict=True):
        torch.testing.assert_close(chunked, plain, atol=2e-3, rtol=1e-3)


def test_a_head_in_bfloat16_stays_near_the_one_in_fp32():
    features, parameters = torch.randn(1, 8, 12, 12, 20), 0.3 * torch.randn(1, 4, PARAMETERS)
    half = apply_generated(features.bfloat16(), parameters)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(
        half.float(), apply_generated(features, parameters), atol=0.1, rtol=0.05
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_order_of_the_classes_in_the_bank_is_the_order_of_the_logits(form):
    network = text_network(width=4, levels=4, classes=5, text_width=12, form=form).eval()
    image = torch.rand(1, 1, 16, 16, 16)
    before = network(image).logits
    order = torch.tensor([3, 0, 4, 1, 2])
    network.vectors = network.vectors[order]
    torch.testing.assert_close(network(image).logits, before[:, order], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_every_aspect_of_every_class_changes_its_own_logits_only(form):
    network = text_network(width=4, levels=4, classes=4, text_width=12, form=form).eval()
    image = torch.rand(1, 1, 16, 16, 16)
    before = network(image).logits
    for c in range(4):
        for a in range(2):
            changed = network.vectors.clone()
            changed[c, a] += 3 * torch.randn(12)
            kept, network.vectors = network.vectors, changed
            differs = (network(image).logits - before).abs().amax((0, 2, 3, 4)) > 1e-6
            network.vectors = kept
            assert differs.tolist() == [k == c for k in range(4)]


@pytest.mark.parametrize("form", FORMS)
def test_text_vectors_are_kept_in_the_state_and_never_trained(form):
    network = text_network(width=4, levels=4, classes=4, text_width=12, form=form)
    assert "vectors" in network.state_dict()
    network(torch.rand(2, 1, 16, 16, 16)).logits.square().mean().backward()
    assert network.vectors.grad is None
    assert network.head.project[0].weight.grad.abs().sum() > 0


def test_a_state_in_which_head_and_alignment_kept_the_vectors_loads():
    network = text_network(width=4, levels=4, classes=4, text_width=12)
    state = {f"teacher.{name}": value for name, value in network.state_dict().items()}
    vectors = state.pop("teacher.vectors")
    former = {**state, "teacher.head.vectors": vectors, "teacher.contrast.vectors": vectors}
    current = with_current_names(former)
    assert current.keys() == {*state, "teacher.vectors"}
    assert torch.equal(text_vectors(current), vectors)
    assert text_vectors(state) is None


@pytest.mark.parametrize("form", FORMS)
def test_logits_have_a_gradient_with_respect_to_every_text_vector(form):
    network = text_network(width=4, levels=4, classes=4, text_width=12, form=form)
    network.vectors.requires_grad_()
    network(torch.rand(2, 1, 16, 16, 16)).logits.square().mean().backward()
    assert (network.vectors.grad.abs().sum(-1) > 0).all()


def test_the_published_form_is_the_default_and_has_the_published_state():
    torch.manual_seed(0)
    head = TextHead(16, (64, 128, 256), 2, 512)
    torch.manual_seed(0)
    named = TextHead(16, (64, 128, 256), 2, 512, form="published")
    state = head.state_dict()
    assert state.keys() == named.state_dict().keys()
    assert all(torch.equal(weight, named.state_dict()[key]) for key, weight in state.items())
    assert state["controller.weight"].shape == (PARAMETERS, 512)
    vectors = torch.randn(16, 2, 512)
    deep = [torch.rand(1, width, 2, 2, 2) for width in (64, 128, 256)]
    codes = head.combine(head.project(vectors).flatten(1))
    pairs = torch.cat([head.image_code(deep).expand(len(codes), -1), codes], dim=1)
    decoded = torch.rand(1, 16, 4, 4, 4)
    expected = plain_generated(head.prepare(decoded), head.controller(pairs)[None])
    torch.testing.assert_close(head(decoded, deep, vectors), expected, atol=1e-5, rtol=1e-4)


def test_a_new_linear_head_gives_logits_as_spread_as_those_of_a_convolution():
    decoded, vectors = torch.randn(1, 16, 8, 8, 8).relu(), torch.randn(200, 2, 32)
    head = TextHead(16, (4, 8, 64), 2, 32, form="linear")
    spread = head(decoded, [], vectors).std((2, 3, 4)).mean()
    expected = ConvHead(16, 200)(decoded).std((2, 3, 4)).mean()
    assert spread.item() == pytest.approx(expected.item(), rel=0.25)
    torch.testing.assert_close(head.class_codes(vectors).norm(dim=1), torch.ones(200))


def test_a_linear_head_learns_classes_in_the_steps_of_a_convolution():
    random = torch.Generator().manual_seed(0)
    decoded = torch.randn(2, 8, 12, 12, 12, generator=random).relu()
    target = F.conv3d(decoded, torch.randn(6, 8, 1, 1, 1, generator=random)).argmax(1)
    vectors = torch.randn(6, 2, 32, generator=random)
    losses = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text, conv = TextHead(8, (16, 32, 64), 2, 32, form="linear"), ConvHead(8, 6)
    for name, head in {"text": text, "conv": conv}.items():
        optimizer = torch.optim.SGD(head.parameters(), lr=0.03, momentum=0.9, nesterov=True)
        for _ in range(60):
            optimizer.zero_grad()
            loss = F.cross_entropy(head(decoded, [], vectors), target)
            loss.backward()
            optimizer.step()
        losses[name] = loss.item()
    assert losses["text"] < 1.15 * losses["conv"] < 1


def test_a_form_that_does_not_exist_is_answered_with_the_known_ones():
    with pytest.raises(LookupError, match="published, linear"):
        TextHead(4, (4, 8, 16), 2, 6, form="square")


def test_text_that_nobody_gives_is_refused():
    vnet = VNet(width=4, levels=3)
    with pytest.raises(ValueError, match="need text vectors; got none"):
        Network(vnet, TextHead(4, vnet.widths, 2, 6))


def test_features_halve_in_size_and_double_in_channels():
    vnet = VNet(width=4, levels=4)
    shapes = [tuple(level.shape[1:]) for level in vnet.encode(torch.rand(1, 1, 32, 16, 24))]
    assert shapes == [(4, 32, 16, 24), (8, 16, 8, 12), (16, 8, 4, 6), (32, 4, 2, 3)]
    assert vnet(torch.rand(1, 1, 32, 16, 24)).shape == (1, 4, 32, 16, 24)


def test_the_pyramid_holds_what_every_stage_of_the_decoder_gives_and_its_finest_is_decoded():
    vnet = VNet(width=4, levels=4)
    features = vnet.encode(torch.rand(1, 1, 32, 16, 24))
    pyramid = vnet.pyramid(features)
    two = vnet.decoder[2](vnet.up[2](features[3]) + features[2])
    one = vnet.decoder[1](vnet.up[1](two) + features[1])
    for found, expected in zip(pyramid, [vnet.decode(features), one, two], strict=True):
        assert torch.equal(found, expected)
    assert [level.shape for level in pyramid] == [level.shape for level in features[:-1]]


@pytest.mark.parametrize("text", [False, True])
def test_a_branch_reads_features_as_the_network_that_it_was_taken_from(text):
    network = text_network(width=4, levels=3, classes=3, text_width=6)
    if not text:
        network = Network(VNet(width=4, levels=3, dropout=0.5), ConvHead(4, 3)).eval()
    features = network.encode(torch.rand(2, 1, 8, 8, 16))
    branch = Branch(network)
    assert torch.equal(branch(features), network.read(features).logits)
    assert not any(key.startswith(("encoder", "down", "contrast")) for key in branch.state_dict())


@pytest.mark.parametrize("side", [20, 8, 4])
def test_an_input_that_the_levels_cannot_halve_is_refused(side):
    with pytest.raises(ValueError, match="multiple of 8"):
        VNet(width=4, levels=4).encode(torch.rand(1, 1, side, 16, 16))


def test_dropout_acts_in_training_only():
    vnet = VNet(width=4, levels=3, dropout=0.5)
    image = torch.rand(1, 1, 8, 8, 8)
    assert not torch.equal(vnet(image), vnet(image))
    vnet.eval()
    torch.testing.assert_close(vnet(image), vnet(image))


def test_initializations_have_their_scale_and_leave_biases_alone():
    vnet = VNet(width=16, levels=3)
    bias = vnet.encoder[1][0][0].bias.clone()
    initialize(vnet, "kaiming")
    weight = vnet.encoder[1][0][0].weight
    assert weight.std().item() == pytest.approx((2 / (32 * 27)) ** 0.5, rel=0.05)
    initialize(vnet, "xavier")
    assert weight.std().item() == pytest.approx((2 / (64 * 27)) ** 0.5, rel=0.05)
    torch.testing.assert_close(vnet.encoder[1][0][0].bias, bias)


@pytest.mark.parametrize("make", [lambda: VNet(norm="layer"), lambda: initialize(VNet(), "he")])
def test_unknown_names_are_answered_with_the_known_ones(make):
    with pytest.raises(LookupError, match="there is"):
        make()
