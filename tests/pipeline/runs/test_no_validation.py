"""A run without a validation case: warned about, and ready to predict and to score."""

import json
from dataclasses import replace

import torch

from pipeline.config.recipe_files import read_config
from pipeline.runs.training import start
from segmentation.data.descriptor import Split
from segmentation.training.checkpoint import load
from tests.support.command_line import tak_here
from tests.support.small_run import SMALL


def test_the_last_weights_are_kept_as_best(prepared, population, tmp_path):
    parts = prepared.split.model_dump()
    parts["test"] = (*parts["test"], *parts["validation"])
    data = replace(prepared, split=Split.model_validate({**parts, "validation": ()}))
    run = tmp_path / "run"
    assert start(run, read_config(SMALL, []), data, None, device=torch.device("cpu"), resume=False)
    opening = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    assert "no validation case" in opening["warnings"][-1]
    best, last = load(run / "best.pt"), load(run / "last.pt")
    assert best.step == last.step == 2
    assert all(torch.equal(value, last.method[name]) for name, value in best.method.items())
    scan = population / "imagesTs" / f"{prepared.split.test[0]}_0000.nii.gz"
    done = tak_here("predict", run, scan, "-o", tmp_path / "mask.nii.gz")
    assert done.exit_code == 0, done.exception
    assert (tmp_path / "mask.nii.gz").is_file()
