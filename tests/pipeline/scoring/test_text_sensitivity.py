"""Text sensitivity: other vectors in the place of a model's own, and its own again afterward."""

import json
import math
import re
import shutil
import zipfile

import numpy as np
import pytest
import torch

from knowledge.bank.bank import Bank
from pipeline.results.result_files import read_evaluation
from pipeline.runs.open_model import open_model
from pipeline.scoring.text_sensitivity import other_vectors, replaced, text_sensitivity
from tests.support.small_run import make_bank, make_run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(prepared, tmp_path_factory):
    """An untrained model with a text head, that sees several classes."""
    folder = make_run(tmp_path_factory.mktemp("sensitivity") / "run", prepared.spec)
    return open_model(folder, device=CPU)


def test_the_same_vectors_change_nothing_and_dice_is_that_of_the_masks(model, prepared):
    found = text_sensitivity(
        model, prepared, "test", {"same": model.network.vectors.detach().clone()}
    )["same"]
    assert found.changed == 0
    assert all(lost == 0 or math.isnan(lost) for lost in found.dice_lost.values())
    assert list(found.dice) == list(prepared.spec.classes[1:])


def test_exchanged_rows_are_seen_and_the_own_text_comes_back(model, prepared):
    before = model.network.vectors.detach().clone()
    found = text_sensitivity(model, prepared, "test", other_vectors(model))
    assert list(found) == ["exchanged", "mean", "random"]
    assert found["exchanged"].changed > 0.05
    torch.testing.assert_close(model.network.vectors.detach(), before, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="stop"), replaced(model, 2 * before):
        raise RuntimeError("stop")
    torch.testing.assert_close(model.network.vectors.detach(), before, rtol=0, atol=0)


def test_other_vectors_keep_what_they_say_they_keep(model):
    own = model.network.vectors.detach()
    others = other_vectors(model, seed=3)
    torch.testing.assert_close(others["exchanged"][1], own[0])
    assert others["mean"].std(0).max() == 0
    torch.testing.assert_close(others["random"].norm(dim=-1), own.norm(dim=-1))
    again = other_vectors(model, seed=3)["random"]
    torch.testing.assert_close(again, others["random"], rtol=0, atol=0)


def test_a_bank_of_another_width_is_refused(model, prepared, tmp_path):
    bank = make_bank(tmp_path / "own.h5", prepared.spec)
    wide = np.concatenate([bank.vectors, bank.vectors], axis=2)
    shape = {name: getattr(bank, name) for name in bank.__dataclass_fields__}
    shape |= {"vectors": wide, "fingerprint": np.zeros((0, wide.shape[2]), np.float32)}
    Bank(**shape).write(tmp_path / "wide.h5")
    with pytest.raises(ValueError, match=r"wide\.h5 has vectors of shape .* expected"):
        other_vectors(model, tmp_path / "wide.h5")


def test_an_evaluation_can_measure_it_and_report_and_card_show_it(tak, run, prepared, tmp_path):
    """The figures of `tak evaluate --text-sensitivity` are those of `tak sensitivity`."""
    own = tmp_path / "run"
    shutil.copytree(run, own)
    code, out, err = tak("evaluate", own, prepared.root, "--text-sensitivity", "--json")
    assert code == 0, err
    figures = json.loads(out)["text_sensitivity"]
    code, expected, err = tak("sensitivity", own, prepared.root, "--json")
    assert code == 0, err
    assert figures == json.loads(expected)
    read = read_evaluation(own / "evaluation-test.json").text_sensitivity
    assert list(read) == ["exchanged", "mean", "random"]
    assert read["mean"].changed == figures["mean"]["changed"]
    nan_or = {None: math.nan}
    lost = [nan_or.get(value, value) for value in figures["mean"]["dice_lost"].values()]
    assert list(read["mean"].dice_lost.values()) == pytest.approx(lost, nan_ok=True)

    code, _, err = tak("bundle", own, "-o", tmp_path / "model.zip")
    assert code == 0, err
    card = zipfile.ZipFile(tmp_path / "model.zip").read("docs/README.md").decode()
    assert "## Text sensitivity" in card
    assert "| organ | exchanged | mean | random |" in card
    changed = f"| {100 * figures['exchanged']['changed']:.1f} |"
    assert changed in next(line for line in card.splitlines() if "voxels changed" in line)
    code, _, err = tak("report", own, "-o", tmp_path / "report")
    assert code == 0, err
    (page,) = (tmp_path / "report").rglob("*.html")
    text = page.read_text(encoding="utf-8")
    assert "A run that loses nothing does not read its text." in text
    assert f"{100 * figures['exchanged']['changed']:.1f}</td>" in text


def test_without_it_a_report_says_how_to_measure_it_and_a_card_is_silent(small_report):
    text = next(small_report[0].rglob("*.html")).read_text(encoding="utf-8")
    assert "tak evaluate --text-sensitivity" in re.sub("</?code>", "", text)
