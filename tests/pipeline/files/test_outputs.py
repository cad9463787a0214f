"""Nothing that is worth keeping is written over by a slip of the output option."""

import json
import sys

import pytest
from typer.testing import CliRunner

from pipeline.cli import app, main
from pipeline.files.outputs import require_writable, require_writable_folder
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.preparation import load_prepared, prepare
from tests.support.small_run import make_bank


@pytest.fixture
def files(prepared, tmp_path, monkeypatch):
    """A bank and the descriptions of the same classes, in the working directory."""
    monkeypatch.chdir(tmp_path)
    make_bank(tmp_path / "bank.h5", prepared.spec)
    assert CliRunner().invoke(app, ["describe", "phantom", "-o", "d.json"]).exit_code == 0
    (tmp_path / "plain").write_text("x")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("encode d.json --encoder hashing:8 -o d.json", "-o d.json would replace a file that"),
        ("encode d.json --encoder hashing:8 -o .", "-o . is a folder"),
        ("encode d.json --encoder hashing:8 -o plain/x.h5", "plain is a file"),
        ("describe phantom -o bank.h5", "-o bank.h5 is a bank of text vectors that would be lost"),
        ("describe phantom --output jsn -o x.json", "no output 'jsn'; there is auto, json_schema"),
        ("bank merge bank.h5 bank.h5 -o bank.h5", "-o bank.h5 would replace a file that"),
        ("bank control random --like bank.h5 -o d.json", "-o d.json is a description set that"),
        ("bank export bank.h5 -o bank.h5", "-o bank.h5 would replace a file that"),
        ("bank plot bank.h5 -o bank.h5", "its name ends in .png"),
        ("phantom made --spacing nan", "voxels need a positive size, not nan"),
    ],
)
def test_an_output_in_the_wrong_place_is_refused_before_anything_is_done(
    files, words, told, monkeypatch, capsys
):
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    monkeypatch.setattr(sys, "argv", ["tak", *words.split()])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert told in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in files.iterdir()} == before


def test_a_folder_of_another_kind_is_no_place_for_a_run(prepared, population, tmp_path):
    for folder in (prepared.root, population):
        with pytest.raises(FileExistsError, match=r"is a .*data set.*; give another folder"):
            require_writable_folder(folder, "run")
    (tmp_path / "plain").write_text("x")
    for path in (tmp_path / "plain", tmp_path / "plain" / "run"):
        with pytest.raises(NotADirectoryError, match=r"expected a folder, but .*plain is a file"):
            require_writable_folder(path, "run")
    assert require_writable_folder(tmp_path / "new" / "run", "run") == tmp_path / "new" / "run"
    assert require_writable_folder(prepared.root, "prepared") == prepared.root


def test_prepared_cases_are_not_put_beside_other_things(population, tmp_path):
    spec = DatasetSpec.read(population / "dataset.toml")
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(FileExistsError, match=r"holds config\.toml; expected a new or empty"):
        prepare(spec, population, tmp_path, spec.split(None, population))
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"spec": None}, r"dataset\.json: damaged, it lacks spec; prepare again"),
        ({"split": {}}, r"labeled: missing key.*; damaged, so prepare again"),
        ({"cases": {}}, r"damaged, it lacks the case phantom_0000; prepare again"),
    ],
)
def test_damaged_notes_of_prepared_data_are_one_line(prepared, tmp_path, change, told):
    content = json.loads((prepared.root / "dataset.json").read_text(encoding="utf-8")) | change
    kept = {key: value for key, value in content.items() if value is not None}
    (tmp_path / "dataset.json").write_text(json.dumps(kept))
    with pytest.raises(ValueError, match=told) as fault:
        load_prepared(tmp_path)
    assert "\n" not in str(fault.value)


def test_what_is_of_the_same_kind_is_written_over_and_new_folders_may_be_named(files):
    assert require_writable(files / "bank.h5", "bank", files / "d.json") == files / "bank.h5"
    assert require_writable(files / "new" / "ä b" / "bank.h5", "bank").name == "bank.h5"
