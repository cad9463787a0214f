"""A file or folder of another kind is answered with what it is and who takes it."""

import shutil
import sys

import numpy as np
import pytest

from pipeline.cli import main
from pipeline.files import shipped
from pipeline.files.kinds import KINDS, kind_of, require_kind
from pipeline.runs.bundles import writing
from tests.support.small_run import make_bank, make_run


@pytest.fixture(scope="module")
def things(prepared, population, tmp_path_factory):
    """One file or folder of every kind, by its key."""
    from typer.testing import CliRunner

    from pipeline.cli import app

    folder = tmp_path_factory.mktemp("things with ä and space")
    run = make_run(folder / "run", prepared.spec)
    writing.write(run, folder / "run.zip")
    make_bank(folder / "bank.h5", prepared.spec)
    words = ["describe", "phantom", "-o", str(folder / "descriptions.json")]
    assert CliRunner().invoke(app, words).exit_code == 0
    np.save(folder / "one_image.npy", np.zeros((2, 2, 2), np.float32))
    (folder / "matrix.toml").write_text('templates = ["paper"]\nmodels = []\n')
    case = prepared.split.labeled[0]
    return {
        "run": run,
        "checkpoint": run / "best.pt",
        "bundle": folder / "run.zip",
        "bank": folder / "bank.h5",
        "descriptions": folder / "descriptions.json",
        "answers": shipped.reference("data") / "answers" / "paper.json",
        "prepared": prepared.root,
        "case": prepared.file(case),
        "raw": population,
        "arrays": folder / "one_image.npy",
        "scan": next((population / "imagesTr").iterdir()),
        "lists": population / "splits",
        "recipe": shipped.find("recipes", "tak"),
        "descriptor": shipped.find("data", "amos"),
        "template": shipped.find("prompts", "paper"),
        "study": shipped.find("studies", "text-controls-small"),
        "matrix": folder / "matrix.toml",
    }


@pytest.fixture
def tak(monkeypatch, capsys):
    """Run `tak` as a shell does; gives the exit code and what was told on standard error."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["tak", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, capsys.readouterr().err

    return run


def test_every_kind_is_told_from_the_others(things):
    assert {name: kind_of(path) for name, path in things.items()} == {name: name for name in things}
    assert set(KINDS) - set(things) == {"evaluation"}  # made by `tak evaluate`: tested with it


def test_what_is_of_no_known_kind_is_left_to_its_reader(tmp_path):
    for name, content in {
        "a.h5": b"\x89HDF\r\n\x1a\n and cut short", "b.json": b"[1]", "c.toml": b"= 3",
        "d.zip": b"PK\x03\x04 cut", "e": b"", "f.json": b"\xff\xfe", "g.toml": b"",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
        assert kind_of(tmp_path / name) is None
        assert require_kind(tmp_path / name, "bank") == tmp_path / name
    assert kind_of(tmp_path) is None


@pytest.mark.parametrize(
    ("words", "found", "needed"),
    [
        ("predict {bank} {scan} -o m.nii.gz", "bank", "the folder of a run"),
        ("predict {scan} {run} -o m.nii.gz", "scan", "the folder of a run"),
        ("predict {prepared} {scan} -o m.nii.gz", "prepared", "the folder of a run"),
        ("evaluate {prepared} {run}", "run", "a prepared data set"),
        ("evaluate {bank} {prepared}", "bank", "the folder of a run"),
        ("evaluate {run} {raw}", "raw", "a prepared data set"),
        ("train {bank} -o x", "bank", "a prepared data set"),
        ("train {raw} -o x", "raw", "a prepared data set"),
        ("train {prepared} --bank {descriptions} -o x", "descriptions", "a bank of text"),
        ("train {prepared} --bank {run} -o x", "run", "a bank of text"),
        ("train {prepared} --recipe {descriptor} -o x", "descriptor", "a recipe"),
        ("train {prepared} --recipe {bank} -o x", "bank", "a recipe"),
        ("encode {bank} -o x.h5", "bank", "a description set"),
        ("encode {answers} -o x.h5", "answers", "a description set"),
        ("check {bank} --scans {raw}", "bank", "a description set"),
        ("check {descriptions} --scans {run}", "run", "a prepared data set"),
        ("render {bank} -o x", "bank", "a prepared data set"),
        ("bank inspect {run}", "run", "a bank of text"),
        ("bank diff {bank} {case}", "case", "a bank of text"),
        ("bank control random --like {descriptions}", "descriptions", "a bank of text"),
        ("bundle {bank} -o x.zip", "bank", "the folder of a run"),
        ("bundle {run} --bank {descriptions} -o x.zip", "descriptions", "a bank of text"),
        ("prepare {prepared} -o x", "prepared", "a data set as downloaded"),
        ("prepare {run} -o x", "run", "a data set as downloaded"),
        ("prepare {raw} --descriptor {recipe} -o x", "recipe", "a descriptor"),
        ("split {run} --labeled 1 -o x", "run", "a data set as downloaded"),
        ("inspect {prepared}", "prepared", "a data set as downloaded"),
        ("compare {bank} {run}", "bank", "the scores of a run"),
        ("study {recipe}", "recipe", "a study"),
        ("study {matrix}", "matrix", "a study"),
        ("describe phantom --template {descriptor} -o x", "descriptor", "a prompt wording"),
        ("report {bank} -o x", "bank", "the folder of a run"),
        ("report {run} --data {raw} -o x", "raw", "a prepared data set"),
        ("report {run} --descriptions {bank} -o x", "bank", "a description set"),
    ],
)
def test_a_wrong_kind_is_named_with_its_place(
    tak, things, words, found, needed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, told = tak(*(word.format(**things) for word in words.split()))
    assert code == 1
    kind = KINDS[found]
    assert f"but {things[found]} is {kind.what} (use it with {kind.used_by})" in told
    assert needed in told.partition(", but ")[0]
    assert not list(tmp_path.iterdir()), "something was written"


def test_a_path_that_leads_nowhere_is_answered_with_one_that_does(tak, things, tmp_path):
    shutil.copy(things["bank"], tmp_path / "bank-terse.h5")
    code, told = tak("bank", "inspect", tmp_path / "bank_terse.h5")
    assert code == 1
    assert f"did you mean {tmp_path / 'bank-terse.h5'}?" in told
    code, told = tak("bank", "inspect", tmp_path / "none" / "bank.h5")
    assert f"nor is there a folder {tmp_path / 'none'}" in told


def test_a_folder_that_two_commands_wrote_to_still_serves_both(things, tmp_path):
    shutil.copytree(things["prepared"], tmp_path / "mixed")
    shutil.copy(things["checkpoint"], tmp_path / "mixed" / "best.pt")
    for kind in ("run", "prepared"):
        assert require_kind(tmp_path / "mixed", kind) == tmp_path / "mixed"
    with pytest.raises(ValueError, match="is a prepared data set"):
        require_kind(tmp_path / "mixed", "bank")
