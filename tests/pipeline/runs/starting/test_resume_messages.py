"""A run that cannot go on as asked says what differs, key by key, and what to do."""

import shutil
from dataclasses import replace

import pytest
import torch

from pipeline.config.recipe_files import read_config
from pipeline.runs.starting.resuming import differing
from pipeline.runs.training import start
from tests.support.small_run import SMALL, make_bank

TEXT = ["head.name=text", "training.steps=2"]


def begin(folder, prepared, bank, *changes, resume=False):
    config = read_config(SMALL, [*TEXT, *changes])
    return start(
        folder, config, prepared, bank,
        device=torch.device("cpu"), resume=resume,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    make_bank(folder / "bank.h5", prepared.spec)
    begin(folder / "run", prepared, folder / "bank.h5")
    return folder


def test_every_key_that_differs_is_told_with_both_values(trained, prepared):
    bank = trained / "bank.h5"
    changes = ["training.rate=0.5", "loss.name=ga", "loss.gamma=0.25", "seed=3"]
    with pytest.raises(ValueError, match=r"run.config\.toml differs") as told:
        begin(trained / "run", prepared, bank, *changes, resume=True)
    for key, was, now in (
        ("loss.gamma", "not set", "0.25"), ("loss.name", '"dice_ce"', '"ga"'),
        ("seed", "0", "3"), ("training.rate", "0.01", "0.5"),
    ):  # fmt: skip
        assert f"{key} is {was} in the run, {now} given" in str(told.value)
    assert "with --resume; or start another run with another -o" in str(told.value)


def test_another_bank_and_other_data_are_told_from_the_run_s(trained, prepared, tmp_path):
    other = prepared.spec.model_copy(update={"organs": prepared.spec.organs})
    bank = make_bank(tmp_path / "other.h5", other)
    longer = replace(bank, vectors=bank.vectors * 2)
    longer.write(tmp_path / "other.h5")
    with pytest.raises(ValueError, match=r"trained with the bank .* without --bank") as told:
        begin(trained / "run", prepared, tmp_path / "other.h5", resume=True)
    assert longer.digest[:12] in str(told.value)
    split = prepared.split
    fewer = split.model_copy(update={"unlabeled": split.unlabeled[:1]})
    with pytest.raises(ValueError, match=r"prepared or split in another way") as told:
        begin(trained / "run", replace(prepared, split=fewer), None, resume=True)
    assert str(prepared.root) in str(told.value)


def test_a_setting_that_an_older_run_does_not_know_is_taken_as_its_default(trained, tmp_path):
    path = tmp_path / "config.toml"
    shutil.copy(trained / "run" / "config.toml", path)
    text = path.read_text(encoding="utf-8")
    path.write_text("".join(line for line in text.splitlines(True) if "recompute" not in line))
    assert path.read_text(encoding="utf-8") != text
    assert differing(path, read_config(SMALL, TEXT)) == []


def test_without_a_run_there_is_nothing_to_resume(prepared, tmp_path):
    with pytest.raises(FileNotFoundError, match="omit --resume to start one"):
        begin(tmp_path / "none", prepared, None, resume=True)
