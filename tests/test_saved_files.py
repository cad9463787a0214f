"""Files that version 0.1.0 wrote are read by every later version, with the same numbers.

`tests/support/saved` holds a run of 40 steps, its bundle, a bank, a description set and a prepared
data set of four phantoms at 16 mm; `numbers.json` beside them is what version 0.1.0 read in them.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from knowledge.bank.bank import Bank
from knowledge.descriptions import DescriptionSet
from pipeline.results.result_files import read_evaluation
from pipeline.runs.open_model import open_model
from segmentation.data.case_files import load_prepared, read_case
from segmentation.training.log import read_log

SAVED = Path(__file__).parent / "support" / "saved"
NUMBERS = json.loads((SAVED / "numbers.json").read_text(encoding="utf-8"))
CPU = torch.device("cpu")


def test_a_bank():
    bank = Bank.read(SAVED / "bank.h5")
    expected = NUMBERS["bank"]
    assert list(bank.classes) == expected["classes"]
    assert list(bank.aspects) == expected["aspects"]
    assert bank.digest == expected["digest"]
    assert bank.texts[6][0] == expected["text"]
    vectors = bank.select(bank.classes, bank.aspects)
    np.testing.assert_allclose(vectors[6, 1], expected["vector"], rtol=0, atol=0)


def test_a_description_set():
    described = DescriptionSet.read(SAVED / "descriptions.json")
    expected = NUMBERS["descriptions"]
    assert described.digest == expected["digest"]
    liver = described.get("liver", "position")
    assert liver.text == expected["text"]
    claims = [[claim.organ, claim.relation, claim.other] for claim in liver.samples[0].claims]
    assert claims == expected["claims"]


def test_a_prepared_case():
    prepared = load_prepared(SAVED / "prepared")
    case = read_case(prepared.file(prepared.split.labeled[0]))
    expected = NUMBERS["case"]
    assert list(case.image.shape) == expected["shape"]
    assert float(case.image.astype(np.float64).sum()) == pytest.approx(expected["sum"], rel=1e-6)
    assert np.bincount(case.label.ravel(), minlength=14).tolist() == expected["voxels"]
    np.testing.assert_allclose(case.affine, expected["affine"], atol=1e-9)


@pytest.mark.parametrize("kind", ["run", "bundle"])
def test_a_network_that_predicts(kind):
    opened = open_model(SAVED / ("run" if kind == "run" else "bundle.zip"), device=CPU)
    prepared = load_prepared(SAVED / "prepared")
    image = torch.from_numpy(read_case(prepared.file(prepared.split.test[0])).image)
    with torch.no_grad():
        logits = opened.network(image[None, None, :16, :16, :12]).logits
    mean = logits.double().softmax(1).mean((0, 2, 3, 4)).tolist()
    assert mean == pytest.approx(NUMBERS["network"]["mean_probability"], abs=1e-6)
    whole = opened.classify(image).double().mean((1, 2, 3)).tolist()
    assert whole == pytest.approx(NUMBERS["network"]["mean_of_windows"], abs=1e-6)


def test_a_log_and_scores():
    records = read_log(SAVED / "run" / "log.jsonl")
    assert [record["loss"] for record in records if "loss" in record] == NUMBERS["losses"]
    cases = read_evaluation(SAVED / "run" / "evaluation-test.json").cases
    dice = {
        case: {organ: scores["dice"] for organ, scores in organs.items()}
        for case, organs in cases.items()
    }
    assert dice == NUMBERS["scores"]


def test_a_run_goes_on(tmp_path):
    from tests.support.command_line import tak

    run = tmp_path / "run"
    shutil.copytree(SAVED / "run", run)
    words = ["--recipe", run / "config.toml", "-o", run, "--resume"]
    done = tak("train", SAVED / "prepared", *words)
    assert done.returncode == 0
    before = torch.load(SAVED / "run" / "last.pt", weights_only=True)
    after = torch.load(run / "last.pt", weights_only=True)
    assert before["step"] == after["step"] == 40
    for name, weights in before["method"].items():
        assert torch.equal(weights, after["method"][name]), name
