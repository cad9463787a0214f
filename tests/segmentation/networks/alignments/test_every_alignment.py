"""The contract of every alignment; a new module in `segmentation/networks/alignments` is tested."""

import pytest
import torch

from pipeline.config.catalog import find
from pipeline.config.options import RESERVED, constructor, option_names
from pipeline.config.recipe_files import read_config
from pipeline.config.registry import load_choice, names
from pipeline.files import shipped
from pipeline.runs.build import RunInputs, network_builder
from segmentation.networks.alignments.base.alignment import IGNORED, Alignment

ALIGNMENTS = names("segmentation.networks.alignments")
WIDTHS = (8, 16, 32)


@pytest.fixture(scope="module", params=ALIGNMENTS)
def kind(request):
    return load_choice("segmentation.networks.alignments", request.param, Alignment)


def deep_levels():
    g = torch.Generator().manual_seed(0)
    sides = (8, 4, 2)
    return [
        torch.rand(2, width, s, s, s, generator=g) for width, s in zip(WIDTHS, sides, strict=True)
    ]


def loss_of(alignment, deep, labels, vectors, deepest=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return alignment(alignment.project(deep), labels, vectors, deepest, generator)


def labels_and_vectors():
    g = torch.Generator().manual_seed(1)
    return torch.randint(0, 3, (2, 16, 16, 16), generator=g), torch.randn(3, 2, 6, generator=g)


@pytest.mark.parametrize("own_deepest", [True, False])
def test_the_loss_is_one_positive_number_that_teaches_features_and_weights(kind, own_deepest):
    torch.manual_seed(0)
    alignment = kind(WIDTHS, 6, own_deepest=own_deepest, classes=3)
    deep = [level.requires_grad_() for level in deep_levels()]
    labels, vectors = labels_and_vectors()
    anchors = None if own_deepest else torch.randn(3, 2, WIDTHS[-1], requires_grad=True)
    loss = loss_of(alignment, deep, labels, vectors, anchors)
    assert loss.shape == ()
    assert loss.isfinite()
    assert loss > 0
    loss.backward()
    assert [i for i, level in enumerate(deep) if level.grad is None or not level.grad.any()] == []
    assert [key for key, weight in alignment.named_parameters() if weight.grad is None] == []
    assert own_deepest or anchors.grad.any()


def test_embeddings_have_the_shapes_of_their_levels(kind):
    deep = deep_levels()
    embeddings = kind(WIDTHS, 6, own_deepest=True, classes=3).project(deep)
    assert [level.shape for level in embeddings] == [level.shape for level in deep]


def test_the_generator_alone_decides_what_is_drawn(kind):
    alignment = kind(WIDTHS, 6, own_deepest=True, classes=3)
    deep, (labels, vectors) = deep_levels(), labels_and_vectors()
    torch.manual_seed(1)
    first = loss_of(alignment, deep, labels, vectors)
    torch.manual_seed(2)
    assert torch.equal(first, loss_of(alignment, deep, labels, vectors))


def test_ignored_voxels_take_no_part(kind):
    alignment = kind(WIDTHS, 6, own_deepest=True, classes=3)
    labels, vectors = labels_and_vectors()
    labels[1] = IGNORED
    deep = deep_levels()
    changed = [level.clone() for level in deep]
    for level in changed:
        level[1] = level[1].flip(0)
    first, second = (loss_of(alignment, levels, labels, vectors) for levels in (deep, changed))
    torch.testing.assert_close(first, second)


def test_start_is_a_share_of_the_run(kind):
    assert 0 <= kind(WIDTHS, 6, own_deepest=True, classes=3).start <= 1


@pytest.mark.parametrize("head", names("segmentation.networks.heads"))
@pytest.mark.parametrize("name", ALIGNMENTS)
def test_a_recipe_chooses_the_alignment_with_every_head(name, head):
    changes = [f"head.name={head}", f'alignment={{name="{name}"}}']
    config = read_config(shipped.find("recipes", "demo"), changes)
    assert config.needs_bank
    inputs = RunInputs(("background", "a", "b"), torch.randn(3, 2, 6), (9, 1, 1))
    network = network_builder(config, inputs)()
    assert type(network.contrast) is constructor("alignment", name)
    side = 2**config.network.levels
    deep = network(torch.rand(1, 1, side, side, side)).deep
    labels = torch.randint(0, 3, (1, side, side, side))
    loss = network.align(network.contrast.project(deep), labels, torch.Generator())
    assert loss.requires_grad


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_the_catalog_lists_the_alignment_with_its_options(name):
    entry = next(entry for entry in find(name) if entry.kind == "alignment")
    assert entry.summary
    options = [key.name for key in entry.options]
    assert options == option_names(constructor("alignment", name))
    assert not set(options) & set(RESERVED)


def test_a_typo_is_answered_with_the_near_name():
    with pytest.raises(ValueError, match=r"no alignment 'contrats'; .*did you mean contrast\?"):
        read_config(shipped.find("recipes", "demo"), ["alignment.name=contrats"])
