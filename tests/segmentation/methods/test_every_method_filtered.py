"""Claims as a filter of pseudo-labels in every method."""

import pytest
import torch

from pipeline.config.registry import load_choice, names
from segmentation.losses import GA
from segmentation.methods.base.method import Method
from segmentation.networks.alignments.base.alignment import IGNORED
from tests.support.small_parts import LATE, batch, hint, make_tiny, train

ALL = names("segmentation.methods")
KINDS = {name: load_choice("segmentation.methods", name, Method) for name in ALL}
FILTERED = [name for name, kind in KINDS.items() if kind.pseudo_labels]
FROM_PSEUDO_LABELS = {"cross", "worst", "consistency", "pseudo"}


class Decided(torch.nn.Module):
    """A filter that keeps every label or none."""

    def __init__(self, keep):
        super().__init__()
        self.keep = keep

    def forward(self, label, probabilities):
        assert torch.equal(label.clamp(min=0), probabilities.argmax(1).where(label >= 0, 0))
        torch.testing.assert_close(probabilities.sum(1), torch.ones(label.shape))
        return torch.full_like(label, self.keep, dtype=torch.bool)


class EverySecond(torch.nn.Module):
    """A filter that keeps every second voxel along z."""

    def forward(self, label, probabilities):
        return (torch.arange(label.shape[-1]) % 2 == 0).expand(label.shape)


def terms_of(name, claim_filter, **options):
    method = make_tiny(name, claims={"claim_filter": claim_filter}, **options)
    method(batch(1), LATE - 1)
    return method, method(batch(), LATE)


def test_methods_without_pseudo_labels_are_known():
    assert {"dycon", "ss_net", "supervised", "urpc"} <= set(ALL) - set(FILTERED)
    assert {"cps", "magicnet", "ua_mt"} <= set(FILTERED)


@pytest.mark.parametrize("name", FILTERED)
def test_without_any_pseudo_label_there_is_nothing_to_learn_from_them(name):
    method, terms = terms_of(name, Decided(keep=False), loss=GA())
    from_pseudo_labels = FROM_PSEUDO_LABELS & set(terms)
    assert from_pseudo_labels, f"terms from pseudo-labels are called {FROM_PSEUDO_LABELS}"
    for term in from_pseudo_labels:
        assert terms[term].item() == 0, term
        weights = [weight for weight in method.parameters() if weight.requires_grad]
        gradients = torch.autograd.grad(terms[term], weights, retain_graph=True, allow_unused=True)
        assert not any(each is not None and each.any() for each in gradients), term
    assert method.measures()["relations/ignored"] >= 1  # background, which is never ignored, too


@pytest.mark.parametrize("name", FILTERED)
def test_a_filter_that_ignores_nothing_changes_nothing(name):
    _, terms = terms_of(name, None)
    method, filtered = terms_of(name, Decided(keep=True))
    assert set(filtered) == set(terms)
    for term, value in terms.items():
        torch.testing.assert_close(filtered[term], value, msg=term)
    assert method.measures() == {"relations/ignored": 0}


@pytest.mark.parametrize("name", sorted(set(ALL) - set(FILTERED)))
def test_a_method_that_refuses_the_filter_leaves_out_no_pseudo_label(name):
    method, _ = terms_of(name, Decided(keep=False))
    assert method.measures() == {}


@pytest.mark.parametrize("name", FILTERED)
def test_a_filtered_method_trains(name):
    method = make_tiny(name, claims={"claim_filter": EverySecond()})
    before = {key: value.clone() for key, value in method.state_dict().items()}
    terms = train(method, 3, first=LATE)
    assert all(value == value and value >= 0 for value in terms.values()), hint(name)
    assert method.measures()["relations/ignored"] > 0
    assert any(not torch.equal(value, before[key]) for key, value in method.state_dict().items())
    plain = make_tiny(name)
    assert list(plain.state_dict()) == list(method.state_dict())
    assert train(plain, 3, first=LATE) != terms


@pytest.mark.parametrize("name", FILTERED)
def test_ignored_voxels_have_no_label_in_the_contrast_either(name, monkeypatch):
    method = make_tiny(name, text=True, claims={"claim_filter": Decided(keep=False)})
    method(batch(1), LATE - 1)
    given = []
    for network in [module for module in method.modules() if hasattr(module, "align")]:
        monkeypatch.setattr(
            network,
            "align",
            lambda views, labels, generator: given.append(labels) or views[0].sum(),
        )
    data = batch()
    method(data, LATE)
    assert given
    for labels in given:
        known = torch.cat([data.label] * (len(labels) // 4)).flatten()
        assert torch.equal(labels[labels != IGNORED].sort().values, known.sort().values)


@pytest.mark.parametrize("name", FILTERED)
def test_a_warm_up_step_ignores_nothing(name):
    method = make_tiny(name, warmup_steps=50, claims={"claim_filter": EverySecond()})
    method(batch(1), LATE)
    assert method.measures()
    method(batch(), 10)
    assert method.measures() == {}
