"""What `tak evaluate` refuses: training cases as test cases, and writing over other scores."""

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config.recipe_files import read_config
from pipeline.runs.open_model import open_model
from pipeline.runs.training import start
from pipeline.scoring.evaluation import evaluate
from segmentation.data.descriptor import Split
from tests.support.small_run import SMALL

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    """A run of one step."""
    folder = tmp_path_factory.mktemp("scoring")
    config = read_config(SMALL, ["training.steps=1"])
    start(folder / "run", config, prepared, None, device=CPU, resume=False)
    return folder / "run"


@pytest.mark.parametrize("part", ["labeled", "unlabeled"])
def test_a_case_that_a_run_was_trained_on_is_not_scored(run, prepared, part, tmp_path):
    seen = getattr(prepared.split, part)[0]
    parts = {**prepared.split.model_dump(), "test": (seen,)}
    parts[part] = tuple(name for name in parts[part] if name != seen)
    swapped = replace(prepared, split=Split.model_validate(parts))
    with pytest.raises(ValueError, match=f"was trained on {seen}, in the part test"):
        evaluate(open_model(run, device=CPU), swapped, "test", lambda case: None)
    made = CliRunner().invoke(app, ["bundle", str(run), "-o", str(tmp_path / "model.zip")])
    assert made.exit_code == 0, made.exception
    bundled = open_model(tmp_path / "model.zip", device=CPU)
    with pytest.raises(ValueError, match=f"was trained on {seen}, in the part test"):
        evaluate(bundled, swapped, "test", lambda case: None)


def test_scores_come_as_json_alone_on_stdout(run, prepared, tmp_path):
    words = ["evaluate", str(run), str(prepared.root), "-o", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout) == json.loads((tmp_path / "evaluation-test.json").read_text())
    assert "mean of all" in done.stderr


def test_a_place_that_takes_no_results_is_named_before_anything_is_scored(run, prepared):
    words = ["evaluate", str(run), str(prepared.root), "-o", "/proc/scores"]
    with pytest.raises(OSError, match="/proc/scores: nothing can be written there"):
        raise CliRunner().invoke(app, words).exception


def test_scores_on_other_data_are_not_written_over(run, prepared, tmp_path):
    old = {"data_set": "phantom", "protocol": "phantom", "split": "own-00000000"}
    (tmp_path / "evaluation-test.json").write_text(json.dumps(old))
    words = ["evaluate", str(run), str(prepared.root), "-o", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    with pytest.raises(ValueError, match="holds scores on phantom, phantom, own-00000000"):
        raise done.exception
    assert json.loads((tmp_path / "evaluation-test.json").read_text()) == old
