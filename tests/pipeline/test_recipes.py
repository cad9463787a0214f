from pathlib import Path

import pytest
import torch

from pipeline.build import Setting, build_method
from pipeline.config import read_config
from segmentation.cotraining import CoTraining

RECIPES = sorted((Path(__file__).parents[2] / "pipeline" / "recipes").glob("*.toml"))
CLASSES = ("background", *(f"organ {number}" for number in range(1, 16)))


def build(path, changes=()):
    """A recipe's method without memory for its weights."""
    config = read_config(path, changes)
    voxels = tuple(range(100, 100 - len(CLASSES), -1))
    with torch.device("meta"):
        vectors = torch.empty(len(CLASSES), 2, 512) if config.needs_bank else None
        return build_method(config, Setting(CLASSES, vectors, voxels))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_builds_its_method(path):
    method = build(path)
    assert method.total_steps == read_config(path).training.steps
    assert (len(method.predictors()) == 3) == isinstance(method, CoTraining)


@pytest.mark.parametrize("name", ["cps", "dhc", "ua-mt", "magicnet"])
def test_text_head_and_contrast_come_to_a_recipe_by_two_changes(name):
    path = next(path for path in RECIPES if path.stem == name)
    method = build(path, ["head.name=text", "alignment.name=contrast"])
    assert method.network.contrast is not None


def test_a_network_of_dhc_has_the_published_number_of_weights():
    path = next(path for path in RECIPES if path.stem == "dhc")
    for network in build(path).networks:
        assert sum(weight.numel() for weight in network.parameters()) == 37_778_192
