import json
import math
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors

from pipeline.results.result_files import write_results
from pipeline.results.scores import METRICS, Evaluation, organ_groups
from pipeline.runs.bundles import reading, writing
from pipeline.runs.open_model import open_model
from segmentation.data.descriptor import DatasetSpec
from tests.support.paths import DATA
from tests.support.small_run import TRAINED_ON, make_bank, make_run

CPU = torch.device("cpu")
SPEC = DatasetSpec.read(DATA / "phantom.toml")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("bundle") / "run", SPEC)


@pytest.fixture
def packed(run, tmp_path) -> Path:
    writing.write(run, tmp_path / "model.zip")
    return tmp_path / "model.zip"


def test_a_bundle_predicts_what_its_run_predicts(run, packed):
    image = torch.rand(12, 10, 9)
    expected = open_model(run, device=CPU)
    found = reading.read(packed, CPU)
    assert found.spec.classes == expected.spec.classes
    assert (found.step, found.predictor) == (7, "student")
    torch.testing.assert_close(found.classify(image), expected.classify(image), rtol=0, atol=0)


def test_a_bundle_holds_what_a_reader_should_know(packed):
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        metadata = json.loads(archive.read("configs/metadata.json"))
        texts = json.loads(archive.read("knowledge/texts.json"))
        card = archive.read("docs/README.md").decode()
        weights = load_tensors(archive.read("models/model.safetensors"))
    assert not [name for name in names if name.endswith((".pt", ".pkl"))]
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert tuple(channels.values()) == SPEC.classes
    assert texts["texts"]["liver"]["shape"] == "shape of liver"
    assert weights["vectors"].shape == (14, 2, 12)
    for told in ("made-up abdominal", "-150 to 250 HU", "| 6 | liver | large |", "random numbers"):
        assert told.lower() in card.lower()


def test_the_same_run_gives_the_same_bytes(run, packed, tmp_path):
    writing.write(run, tmp_path / "again.zip", bank=run / "bank.h5")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def scored(folder, name, **changes):
    """An evaluation of two cases as `tak evaluate` leaves it in a run's folder."""
    organs = SPEC.classes[1:]
    cases = {
        case: {organ: dict.fromkeys(METRICS, dice) for organ in organs}
        for case, dice in (("a", 0.4), ("b", 0.6))
    }
    cases["a"]["liver"]["dice"] = math.nan
    known = {"step": 7, "predictor": "student", "rules": "scan", **changes}
    evaluation = Evaluation(
        "phantom", "phantom", "test", "best.pt", tolerance_mm=1.0, cases=cases,
        groups=organ_groups(SPEC), **known,
    )  # fmt: skip
    write_results(evaluation, folder / name)


def test_scores_of_the_run_go_along(run, tmp_path):
    (tmp_path / "best.pt").write_bytes((run / "best.pt").read_bytes())
    scored(tmp_path, "evaluation-test")
    writing.write(tmp_path, tmp_path / "model.zip")
    card = reading.read_member(tmp_path / "model.zip", "docs/README.md").decode()
    assert "| liver | 60.0 | - |" in card
    assert "| spleen | 50.0 | 14.1 |" in card
    assert "| mean of large | 50.0 | 14.1 |" in card
    assert "over 2 cases of the part test; protocol phantom, metric rules scan" in card
    assert f"protocol {TRAINED_ON}" in card
    assert "The texts themselves were not bundled" in card
    stored = json.loads(reading.read_member(tmp_path / "model.zip", "metrics/evaluation-test.json"))
    assert stored == json.loads((tmp_path / "evaluation-test.json").read_text())


def test_scores_of_other_weights_stay_behind(run, tmp_path):
    (tmp_path / "best.pt").write_bytes((run / "best.pt").read_bytes())
    scored(tmp_path, "evaluation-test", predictor="teacher")
    scored(tmp_path, "evaluation-validation", step=5)
    writing.write(tmp_path, tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert not [name for name in archive.namelist() if name.startswith("metrics/")]
        assert "Not evaluated" in archive.read("docs/README.md").decode()


@pytest.mark.parametrize("text", ["{", "[]", '{"cases": {}}'])
def test_an_evaluation_that_is_damaged_or_of_another_version_is_named(run, tmp_path, text):
    (tmp_path / "best.pt").write_bytes((run / "best.pt").read_bytes())
    (tmp_path / "evaluation-test.json").write_text(text)
    with pytest.raises(ValueError, match=r"evaluation-test\.json: .*; evaluate again"):
        writing.write(tmp_path, tmp_path / "model.zip")
    assert not (tmp_path / "model.zip").exists()


def test_another_bank_than_the_run_s_is_refused(run, tmp_path):
    spec = SPEC.model_copy(update={"organs": SPEC.organs[:-1]})
    make_bank(tmp_path / "other.h5", spec)
    with pytest.raises(ValueError, match="the run was trained with"):
        writing.write(run, tmp_path / "model.zip", bank=tmp_path / "other.h5")
    with pytest.raises(ValueError, match=r"a bundle's name ends in \.zip"):
        writing.write(run, tmp_path / "model.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["other.h5"]


def test_a_bundle_alone_is_enough_anywhere(packed, tmp_path):
    """Another process in an empty folder; torch.load is not there to be used."""
    code = (
        "import torch, numpy as np\n"
        "def never(*args, **kwargs): raise AssertionError('unpickled')\n"
        "torch.load = never\n"
        "from pipeline import Predictor\n"
        "from segmentation.imaging.volume import Volume\n"
        "scan = Volume(np.random.default_rng(0).normal(0, 300, (9, 8, 7)), np.eye(4) * 7)\n"
        "print(Predictor('model.zip', device='cpu').segment(scan).labels.shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "(9, 8, 7)", done.stderr


def test_weights_in_the_bundle_are_the_predictor_s_alone(run, packed):
    network = open_model(run, device=CPU).network.state_dict()
    stored = load_tensors(reading.read_member(packed, reading.WEIGHTS))
    assert stored.keys() == network.keys()
    for name, tensor in network.items():
        np.testing.assert_array_equal(stored[name].numpy(), tensor.numpy())
