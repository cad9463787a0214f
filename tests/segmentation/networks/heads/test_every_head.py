"""The contract of every head; a new module in `segmentation/networks/heads` is tested at once."""

import pytest
import torch

from pipeline.config.catalog import find
from pipeline.config.options import constructor, option_names
from pipeline.config.recipe_files import read_config
from pipeline.config.registry import load_choice, names, states
from pipeline.files import shipped
from pipeline.runs.build import RunInputs, network_builder
from segmentation.networks.heads.base.head import Head, HeadInputs
from segmentation.networks.network import DEEP

HEADS = names("segmentation.networks.heads")
INPUTS = HeadInputs(4, (8, 16, 32), classes=3, aspects=2, text_width=6)


@pytest.fixture(scope="module", params=HEADS)
def kind(request):
    return load_choice("segmentation.networks.heads", request.param, Head)


@pytest.fixture
def arguments():
    """Decoded features, the deepest levels and text vectors of two volumes."""
    g = torch.Generator().manual_seed(0)
    decoded = torch.rand(2, INPUTS.width, 8, 4, 4, generator=g)
    deep = [torch.rand(2, width, 2, 2, 2, generator=g) for width in INPUTS.deep_widths]
    return decoded, deep, torch.randn(3, 2, 6, generator=g)


def test_the_heads_of_the_paper_are_registered():
    assert {"conv", "text"} <= set(HEADS)


def test_logits_have_a_channel_per_class_and_the_size_of_the_features(kind, arguments):
    logits = kind.build(INPUTS)(*arguments)
    assert logits.shape == (2, 3, 8, 4, 4)
    assert logits.isfinite().all()


def test_every_weight_and_the_features_learn(kind, arguments):
    torch.manual_seed(0)
    head = kind.build(INPUTS)
    decoded, deep, vectors = arguments
    decoded.requires_grad_()
    head(decoded, deep, vectors).square().sum().backward()
    assert decoded.grad.any()
    assert [key for key, weight in head.named_parameters() if weight.grad is None] == []


def test_text_matters_exactly_if_the_head_reads_text(kind, arguments):
    torch.manual_seed(0)
    head = kind.build(INPUTS)
    decoded, deep, vectors = arguments
    same = torch.equal(head(decoded, deep, vectors), head(decoded, deep, vectors.flip(0) + 1))
    assert same != kind.reads_text
    assert kind.reads_text or torch.equal(head(decoded, deep, None), head(decoded, deep, vectors))


def test_shared_text_anchors_have_the_width_of_the_deepest_level(kind, arguments):
    if kind.projects_text:
        assert kind.build(INPUTS).aspect_codes(arguments[2]).shape == (3, 2, 32)


def test_the_same_weights_give_the_same_logits(kind, arguments):
    first, second = kind.build(INPUTS), kind.build(INPUTS)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.eval()(*arguments), second.eval()(*arguments))


@pytest.mark.parametrize("name", HEADS)
def test_a_recipe_chooses_the_head_by_its_name(name):
    config = read_config(shipped.find("recipes", "demo"), [f"head.name={name}"])
    kind = constructor("head", name)
    assert config.needs_bank == (kind.reads_text or config.alignment.name != "none")
    inputs = RunInputs(("background", "a", "b"), torch.randn(3, 2, 6), (9, 1, 1))
    network = network_builder(config, inputs)()
    assert type(network.head) is kind
    side = 2**config.network.levels
    output = network(torch.rand(1, 1, side, side, side))
    assert output.logits.shape == (1, 3, side, side, side)
    assert len(output.deep) == DEEP


@pytest.mark.parametrize("name", HEADS)
def test_the_catalog_lists_the_head_with_its_options(name):
    entry = next(entry for entry in find(name) if entry.kind == "head")
    assert entry.summary
    assert [key.name for key in entry.options] == option_names(constructor("head", name))
    assert [key.name for key in entry.options if not key.meaning] == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("head.name=txt", "no head 'txt'; there is .*conv.*text; did you mean text?"),
        ("head.froms=linear", "did you mean form?"),
        ("head.form=lineal", "linear"),
    ],
)
def test_a_typo_in_the_head_table_is_answered(change, reason):
    with pytest.raises(ValueError, match=reason.replace("?", r"\?")):
        read_config(shipped.find("recipes", "demo"), ["head.name=text", change])


@pytest.mark.parametrize("name", names("segmentation.networks.heads"))
def test_plans_know_without_an_import_whether_a_head_reads_text(name):
    kind = load_choice("segmentation.networks.heads", name, Head)
    assert states("segmentation.networks.heads", name, "reads_text") == kind.reads_text
