import inspect
from dataclasses import replace

import pytest
import torch

from pipeline.config.registry import load_choice, names
from segmentation.losses import GA, DiceCE, OrganDiceCE
from segmentation.methods.base.co_training import CoTraining
from segmentation.methods.base.method import Batch, Method, MethodContext
from segmentation.methods.cld import CLD
from segmentation.methods.crest import CReST
from segmentation.methods.dhc import DHC
from segmentation.methods.simis import SimiS
from segmentation.networks.alignments.proxies import Proxies
from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.network import Network
from segmentation.networks.vnet import VNet
from tests.support import small_parts
from tests.support.small_parts import (
    LATE,
    SIDE,
    batch,
    builder,
    context_of,
    hint,
    make,
    make_tiny,
    train,
)

METHODS = names("segmentation.methods")


def test_the_methods_of_the_comparison_are_there():
    expected = "supervised ua_mt cps depl adsh crest simis cld dhc magicnet urpc ss_net acisis dst"
    assert set(expected.split()) <= set(METHODS)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_every_term_teaches(name, text):
    method = make_tiny(name, text=text)
    method(batch(1), LATE - 1)
    terms = method(batch(), LATE)
    assert ("contrast" in terms) == text
    weights = [weight for weight in method.network.parameters() if weight.requires_grad]
    for term, value in terms.items():
        assert value > 0, f"{name}.{term} teaches nothing. {hint(name)}"
        assert value.isfinite(), f"{name}.{term}"
        reached = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
        assert any(gradient is not None and gradient.any() for gradient in reached), term


@pytest.mark.parametrize("name", METHODS)
def test_class_proxies_align_every_method(name, monkeypatch):
    def build(text=True, norm="instance", dropout=0.0):
        def network():
            vnet = VNet(width=4, levels=3, norm=norm, dropout=dropout)
            proxies = Proxies(vnet.widths, 6, own_deepest=True, classes=4)
            return Network(vnet, ConvHead(4, 4), proxies, torch.randn(4, 2, 6))

        return network

    monkeypatch.setattr(small_parts, "builder", build)
    method = make_tiny(name, text=True)
    method(batch(1), LATE - 1)
    term = method(batch(), LATE)["contrast"]
    assert term.isfinite()
    assert term > 0
    weights = list(method.network.contrast.parameters())
    assert all(gradient.any() for gradient in torch.autograd.grad(term, weights))


@pytest.mark.parametrize("name", METHODS)
def test_a_student_with_two_views_learns_from_the_strong_one_and_its_teacher_sees_the_weak(name):
    method = make_tiny(name)
    method(batch(1), LATE - 1)
    weak = batch()
    strong = batch(7).unlabeled.requires_grad_()
    weak.unlabeled.requires_grad_()
    terms = method(replace(weak, strong=strong), LATE)
    sources = (strong, weak.unlabeled)
    gradients = torch.autograd.grad(sum(terms.values()), sources, allow_unused=True)
    reached = [gradient is not None and bool(gradient.any()) for gradient in gradients]
    assert reached == ([True, False] if method.two_views else [False, name != "supervised"])


@pytest.mark.parametrize("name", METHODS)
def test_every_weight_that_trains_is_reached(name):
    method = make_tiny(name, text=True)
    method(batch(1), LATE - 1)
    sum(method(batch(), LATE).values()).backward()
    for key, weight in method.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, key
        assert weight.requires_grad != key.startswith("teacher."), key


@pytest.mark.parametrize("loss", [DiceCE(), OrganDiceCE(), GA()], ids=["dice", "organ", "ga"])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("classes", [(0,), (2,), (0, 3)], ids=["background", "one organ", "two"])
def test_classes_that_are_missing_make_no_nan(name, loss, classes):
    method = make_tiny(name, loss)
    for step in range(2):
        patches = batch(step, classes)
        terms = method(patches, step)
        total = sum(terms.values())
        assert total.isfinite(), f"{name} at {step}: {terms}"
        assert all(term >= 0 for term in terms.values()), terms
        total.backward()
    for key, state in method.state_dict().items():
        assert state.isfinite().all(), key
    for weight in method.parameters():
        assert weight.grad is None or weight.grad.isfinite().all()


@pytest.mark.parametrize("name", METHODS)
def test_networks_that_say_background_everywhere_make_no_nan(name):
    method = make_tiny(name)
    with torch.no_grad():
        for key, weight in method.named_parameters():
            if key.endswith("head.bias"):
                weight += torch.tensor([50.0, 0, 0, 0])
    for step in range(7):
        terms = method(batch(step, (0,)), step)
        assert all(term.isfinite() for term in terms.values()), terms
    for key, state in method.state_dict().items():
        assert state.isfinite().all(), key


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_goes_on_as_if_never_stopped(name):
    def fresh(seed):
        return make_tiny(name, text=True, norm="batch", dropout=0.5, seed=seed)

    straight = fresh(seed=0)
    train(straight, 3, first=LATE)
    half = fresh(seed=0)
    train(half, 2, first=LATE)
    resumed = fresh(seed=7)
    torch.randn(11)  # whatever else draws from the global generator
    resumed.load_state_dict(half.state_dict())
    train(resumed, 1, first=LATE + 2)
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@pytest.mark.parametrize("name", METHODS)
def test_the_warm_up_looks_at_labeled_patches_alone_and_trains_all_that_predicts(name):
    method = make_tiny(name, warmup_steps=50)
    one, other = batch(0), batch(1)
    mixed = Batch(one.image, one.label, other.unlabeled)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    terms = method(one, 10)
    assert terms == method(mixed, 10)
    for key, value in method.state_dict().items():
        assert torch.equal(value, before[key]), f"{key} moved in the warm-up"
    sum(terms.values()).backward()
    trained = [method.network, *([method.second] if isinstance(method, CoTraining) else [])]
    assert all(weight.grad is not None for net in trained for weight in net.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_the_first_predictor_is_the_default_and_an_unknown_one_is_answered_with_the_known(name):
    method = make_tiny(name).eval()
    image = torch.rand(1, 1, SIDE, SIDE, SIDE)
    known = method.predictors()
    first = next(iter(known.values()))
    assert torch.equal(method.predict(image), first(image).logits)
    with pytest.raises(LookupError, match=", ".join(known)):
        method.predict(image, "oracle")


@pytest.mark.parametrize("name", METHODS)
def test_options_are_keywords_and_all_have_a_default(name):
    kind = load_choice("segmentation.methods", name, Method)
    first, *options = inspect.signature(kind).parameters.values()
    assert first.annotation is MethodContext
    assert all(option.kind is option.KEYWORD_ONLY for option in options)
    assert all(option.default is not option.empty for option in options)


@pytest.mark.parametrize("kind", [CLD, CReST, DHC, SimiS])
def test_methods_that_weigh_classes_ask_for_their_voxels(kind):
    with pytest.raises(ValueError, match="weighs classes: give their voxels"):
        kind(context_of(builder(), voxels=None))


def test_an_ensemble_gives_the_mean_of_both_logits_and_leaves_the_mode_alone():
    method = make("cps", dropout=0.5).eval()
    image = torch.rand(1, 1, SIDE, SIDE, SIDE)
    both = [network(image).logits for network in method.networks]
    ensemble = method.predictors()["ensemble"]
    assert torch.allclose(ensemble(image).logits, (both[0] + both[1]) / 2)
    assert not any(module.training for module in method.modules())
    assert list(method.state_dict()) == list(make("cps").state_dict())
