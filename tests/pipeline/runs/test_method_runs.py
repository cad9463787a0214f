"""Methods with two networks and statistics of classes, run by `pipeline.runs.training`."""

import numpy as np
import pytest
import torch

from pipeline.config.recipe_files import read_config
from pipeline.runs.open_model import open_model
from pipeline.runs.training import labeled_voxels, start
from segmentation.data.preparation import read_case
from segmentation.methods.dhc import rarity_weights
from tests.support.small_run import SMALL

CPU = torch.device("cpu")


def begin(folder, prepared, changes=()):
    config = read_config(SMALL, ["method.name=dhc", *changes])
    run = folder / "run"
    start(run, config, prepared, None, device=CPU, resume=False)
    return run


def test_class_weights_start_from_the_voxels_of_the_labeled_cases_alone(prepared):
    labels = [read_case(prepared.file(case)).label for case in prepared.split.labeled]
    values = np.concatenate([label.ravel() for label in labels])
    expected = [int((values == c).sum()) for c in range(len(prepared.spec.classes))]
    assert labeled_voxels(prepared) == tuple(expected)


def test_two_networks_predict_together_unless_one_is_asked_for(prepared, tmp_path):
    run = begin(tmp_path, prepared)
    image = torch.rand(16, 16, 16)
    assert open_model(run, device=CPU).predictor == "ensemble"
    one, two, both = (
        open_model(run, device=CPU, predictor=name).network(image[None, None]).logits
        for name in ("first", "second", "ensemble")
    )
    torch.testing.assert_close(both, (one + two) / 2)


def test_class_weights_are_kept_in_the_checkpoint(prepared, tmp_path):
    run = begin(tmp_path, prepared)
    kept = torch.load(run / "last.pt", weights_only=True)["method"]["rarity"]
    fresh = rarity_weights(torch.tensor(labeled_voxels(prepared)).float())
    torch.testing.assert_close(kept, fresh, atol=0.1 * len(fresh), rtol=0)
    assert not torch.equal(kept, torch.ones_like(kept))


def test_a_predictor_that_does_not_exist_stops_a_run_before_its_first_step(prepared, tmp_path):
    with pytest.raises(LookupError, match="no predictor 'student'; there is ensemble, first"):
        begin(tmp_path, prepared, ["inference.predictor=student"])
    assert not (tmp_path / "run").exists()


def test_the_supervised_method_alone_does_without_unlabeled_patches(prepared, tmp_path):
    begin(tmp_path, prepared, ["method.name=supervised", "training.unlabeled_per_step=0"])
    with pytest.raises(ValueError, match=r"dhc needs training.unlabeled_per_step > 0"):
        begin(tmp_path / "dhc", prepared, ["training.unlabeled_per_step=0"])
