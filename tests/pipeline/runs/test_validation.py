"""Validation during training: how an organ that nobody has is counted; runs given in epochs."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.config.recipe_files import read_config
from pipeline.runs import validation
from pipeline.runs.build import RunInputs, build_method
from segmentation.training.checkpoint import load
from tests.support.command_line import changed, tak_here
from tests.support.small_run import SMALL


@pytest.mark.parametrize(("rule", "score"), [("skipped", math.nan), ("zero", 0.0)])
def test_an_organ_that_is_neither_there_nor_predicted_counts_as_asked(
    prepared, monkeypatch, rule, score
):
    read = validation.read_case

    def without_fourth(path):
        case = read(path)
        return replace(case, label=np.where(case.label == 4, 0, case.label).astype(np.uint8))

    monkeypatch.setattr(validation, "read_case", without_fourth)
    config = read_config(SMALL, [f"training.validation_absent={rule}"])
    classes = prepared.spec.classes
    method = build_method(config, RunInputs(classes))
    with torch.no_grad():
        method.network.head.bias.copy_(100.0 * torch.eye(len(classes))[0])  # background alone
    validate = validation.validator(config, prepared, torch.device("cpu"), lambda *_: None)
    scores = validate(method).scores["student"]
    assert scores[classes[4]] == pytest.approx(score, nan_ok=True)
    assert scores[classes[5]] == 0


def test_epochs_give_the_steps_of_a_run_by_its_unlabeled_cases(prepared, bank, tmp_path):
    """Two unlabeled cases: three epochs are six steps; validated after the second and third."""
    out = tmp_path / "run"
    changes = ["training.steps=0", "training.epochs=3", "training.validate_epochs=[2, 1]"]
    command = ["train", prepared.root, "--recipe", "demo", "--bank", bank, "-o", out]
    command += changed(*changes, "training.warmup_steps=0")
    done = tak_here(*command)
    assert done.exit_code == 0, done.exception
    assert load(out / "last.pt").step == 6
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "validation" in record] == [4, 6]
    again = tak_here(*command, "--resume")
    assert again.exit_code == 0, again.exception
