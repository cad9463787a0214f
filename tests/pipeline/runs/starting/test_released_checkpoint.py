"""`tak adopt`: a checkpoint with the released names gives the network that it was saved from."""

import pytest
import torch
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config.recipe_files import read_config
from pipeline.runs.build import build_method
from pipeline.runs.open_model import open_model
from pipeline.runs.setting import load_run_inputs
from segmentation.data.descriptor import DatasetSpec
from segmentation.networks.released import _modules
from tests.support.paths import ROOT
from tests.support.small_run import make_bank

SPEC = DatasetSpec.read(ROOT / "data" / "phantom.toml")


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A trained-looking method, and its student saved under the released names."""
    folder = tmp_path_factory.mktemp("released")
    make_bank(folder / "bank.h5", SPEC)
    config = read_config(ROOT / "pipeline" / "recipes" / "tak.toml", ["seed=7"])
    setting, _ = load_run_inputs(config, SPEC, folder / "bank.h5")
    method = build_method(config, setting)
    state = method.state_dict()
    saved = {}
    for here, there in _modules():
        for kind in ("weight", "bias"):
            value = state[f"network.{here}.{kind}"]
            pointwise = kind == "weight" and value.dim() == 2 and not there.startswith("text_to")
            saved[f"module.{there}.{kind}"] = value[..., None, None, None] if pointwise else value
    for name, value in state.items():
        if name.startswith("location."):
            saved[f"module.fc_layer.fc_layer.{name.removeprefix('location.')}"] = value
    torch.save(saved, folder / "best.pth")
    return folder, method


def adopted(folder, out, checkpoint="best.pth", **options):
    words = ["adopt", str(folder / checkpoint), "--bank", str(folder / "bank.h5")]
    words += ["--descriptor", "phantom", "-o", str(out)]
    return CliRunner().invoke(app, words)


def test_student_and_teacher_are_the_network_that_was_saved(released, tmp_path):
    folder, method = released
    done = adopted(folder, tmp_path / "run")
    assert done.exit_code == 0, done.exception
    image = torch.rand(1, 1, 32, 32, 32)
    with torch.inference_mode():
        expected = method.network.eval()(image).logits
        for name in ("student", "teacher"):
            opened = open_model(tmp_path / "run", predictor=name, device=torch.device("cpu"))
            torch.testing.assert_close(opened.network(image).logits, expected)
    assert opened.trained_on == "phantom, unknown training cases"
    again = adopted(folder, tmp_path / "run")
    assert isinstance(again.exception, FileExistsError)


def test_what_is_no_such_checkpoint_is_said_and_leaves_nothing(released, tmp_path):
    folder, _ = released
    saved = torch.load(folder / "best.pth", weights_only=True)
    del saved["module.controller.weight"]
    torch.save(saved, folder / "lacking.pth")
    torch.save([1, 2], folder / "list.pth")
    (folder / "text.pth").write_text("no checkpoint")
    for name, told in (
        ("lacking.pth", r"has no parameter controller\.weight; is it of the network"),
        ("list.pth", "no table of parameters"),
        ("text.pth", "not a readable checkpoint"),
        ("none.pth", "there is no such file"),
    ):
        done = adopted(folder, tmp_path / "run", name)
        with pytest.raises((ValueError, FileNotFoundError), match=told):
            raise done.exception
    assert not (tmp_path / "run").exists()
