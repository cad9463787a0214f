import math
import tomllib

import pytest
import torch

from pipeline.config.recipe_files import read_config
from pipeline.runs.build import RunInputs, build_method
from pipeline.runs.trained_model import sliding_window
from segmentation.methods.base.co_training import CoTraining
from segmentation.methods.base.ramps import entropy_threshold
from tests.support.paths import ROOT

RECIPES = sorted((ROOT / "pipeline" / "recipes").glob("*.toml"))
UNLABELED = 206  # unlabeled cases of AMOS with 5 % labeled
CLASSES = ("background", *(f"organ {number}" for number in range(1, 16)))


def build(path, changes=()):
    """A recipe's method without memory for its weights."""
    config = read_config(path, changes).for_split(UNLABELED)
    voxels = tuple(range(100, 100 - len(CLASSES), -1))
    with torch.device("meta"):
        vectors = torch.empty(len(CLASSES), 2, 512) if config.needs_bank else None
        return build_method(config, RunInputs(CLASSES, vectors, voxels))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_builds_its_method(path):
    method = build(path)
    assert method.total_steps == read_config(path).for_split(UNLABELED).training.steps
    assert (len(method.predictors()) == 3) == isinstance(method, CoTraining)


@pytest.mark.parametrize("name", ["cps", "dhc", "ua-mt", "magicnet"])
def test_text_head_and_contrast_come_to_a_recipe_by_two_changes(name):
    path = next(path for path in RECIPES if path.stem == name)
    method = build(path, ["head.name=text", "alignment.name=contrast"])
    assert method.network.contrast is not None


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_of_tak_alone_have_the_published_form_of_the_text_head(path):
    head = read_config(path).head
    published = path.stem in ("tak", "tak-published")
    assert head.name == "conv" or (head.form == "published") == published


@pytest.mark.parametrize(("unlabeled", "steps"), [(212, 34_132), (206, 33_166), (195, 31_395)])
def test_the_published_run_has_its_steps_ramps_and_validations(unlabeled, steps):
    """The schedule of METHODS in epochs e from 0, counted out by hand for every split."""
    path = ROOT / "pipeline" / "recipes" / "tak-published.toml"
    config = read_config(path).for_split(unlabeled)
    training = config.training
    assert (training.steps, training.horizon, config.seed) == (steps, 70_000, 1337)
    with torch.device("meta"):
        setting = RunInputs(CLASSES, torch.empty(len(CLASSES), 2, 512), (1,) * len(CLASSES))
        method = build_method(config, setting)
    for step in (0, 1, unlabeled - 1, unlabeled, 21 * unlabeled - 1, 21 * unlabeled, steps - 1):
        epoch = step // unlabeled
        ramp = math.exp(-5 * (1 - min(epoch, 160) / 160) ** 2)
        assert method.unlabeled_weight(step) == pytest.approx(0.1 * ramp, rel=1e-9)
        assert method.uses_alignment(step) == (epoch > 20)
        threshold = 0.75 + 0.25 * math.exp(-5 * (1 - min(epoch, 100) / 100) ** 2)
        limit = entropy_threshold(method.progress(step), method.entropy_ramp)
        assert limit == pytest.approx(math.log(2) * threshold, rel=1e-9)
    validated = [step for step in range(1, steps + 1) if training.validates_after(step)]
    assert validated == [(epoch + 1) * unlabeled for epoch in range(20, 161, 5)]


def test_a_network_of_dhc_has_the_published_number_of_weights():
    path = next(path for path in RECIPES if path.stem == "dhc")
    for network in build(path).networks:
        assert sum(weight.numel() for weight in network.parameters()) == 37_778_192


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("tak", "amos-ga"),
        ("tak-published", "amos-ga"),
        ("galoss-cps", "amos-ga"),
        ("galoss-magicnet", "amos-ga"),
    ]
    + [(name, "amos-dhc") for name in ("dhc", "cps", "adsh", "urpc", "dst")],
)
def test_windows_lie_as_in_the_protocol_that_a_recipe_repeats(name, protocol):
    published = tomllib.loads((ROOT / "data" / "protocols" / f"{protocol}.toml").read_text())
    config = read_config(ROOT / "pipeline" / "recipes" / f"{name}.toml")
    assert list(config.training.patch) == published["patch"]
    steps = sliding_window(config).stride
    assert list(steps) == published["stride"]
    assert config.inference.blend == published["blend"]


def test_an_overlap_of_one_would_never_move_a_window(tmp_path):
    path = ROOT / "pipeline" / "recipes" / "demo.toml"
    with pytest.raises(ValueError, match=r"inference\.overlap"):
        read_config(path, ["inference.overlap=[0.5, 0.5, 1.0]"])
