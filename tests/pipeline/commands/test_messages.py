"""Answers to small mistakes, as a user reads them, and help wherever it is asked for."""

import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from typer.main import get_command

from knowledge.bank.bank import Bank
from knowledge.bank.controls import CONTROLS
from pipeline.cli import app, main, message_of
from pipeline.datasets.split_drawing import read_candidates
from pipeline.datasets.split_sizes import SplitRequest
from pipeline.texts.encoders import line
from pipeline.texts.tables import facts_of
from segmentation.data.descriptor import DatasetSpec
from tests.support.small_run import make_bank


def commands(group, words=()):
    """The words of every command, groups too."""
    yield words
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*words, name))


@pytest.mark.parametrize("words", list(commands(get_command(app))), ids=" ".join)
def test_a_short_h_is_help(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tak", *words, "-h"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    message_of = " ".join(capsys.readouterr().out.split())
    assert "Usage: " in message_of
    assert "--help" in message_of


def test_a_fault_of_the_system_names_the_file_and_no_number(tmp_path):
    with pytest.raises(OSError, match="Errno") as fault:
        (tmp_path / "nothing" / "a.txt").read_text()
    assert message_of(fault.value) == f"{tmp_path / 'nothing' / 'a.txt'}: no such file or directory"
    assert message_of(ValueError()) == "ValueError"


@pytest.mark.parametrize("labeled", ["50", "0", "-1"])
def test_more_cases_than_have_a_mask_are_refused_before_a_mask_is_read(
    population, labeled, tmp_path
):
    shutil.copytree(population, tmp_path / "raw")
    for mask in (tmp_path / "raw" / "labelsTr").iterdir():
        mask.write_bytes(b"no mask can be read")
    with pytest.raises(ValueError, match=f"--labeled {labeled}: that is .* 2 of the 4 training"):
        read_candidates(
            tmp_path / "raw",
            None,
            None,
            SplitRequest(labeled),
            lambda words, total: pytest.fail("read"),
        )


def test_lists_that_are_not_there_lead_to_the_option(population):
    spec = DatasetSpec.read(population / "dataset.toml")
    with pytest.raises(FileNotFoundError, match=r"no folder splits, .*--split FOLDER"):
        spec.split(None, population / "imagesTr")


@pytest.mark.parametrize("kind", sorted(CONTROLS))
def test_a_control_bank_says_so_wherever_it_is_shown(kind, prepared, tmp_path):
    bank = make_bank(tmp_path / "bank.h5", prepared.spec)
    wide = np.pad(bank.vectors, ((0, 0), (0, 0), (0, 8)))  # an axis for every class
    bank = replace(bank, vectors=wide, fingerprint=np.zeros((0, 20), np.float32))
    CONTROLS[kind](bank, 7).write(tmp_path / "control.h5")
    control = Bank.read(tmp_path / "control.h5")
    words = f"control {kind} of the bank {bank.digest[:12]}, seed 7"
    assert control.control == words
    assert facts_of(control)["kind"].startswith(words)
    assert words in line(control)
    assert bank.control is None
    assert "kind" not in facts_of(bank)
