"""Nothing that is worth keeping is written over by a slip of the output option."""

import sys

import pytest
from small_run import make_bank
from typer.testing import CliRunner

from pipeline.cli import app, main
from pipeline.kinds import writable


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
        ("encode d.json --encoder hashing:8 -o d.json", "-o d.json would be written over what"),
        ("encode d.json --encoder hashing:8 -o .", "-o . is a folder"),
        ("encode d.json --encoder hashing:8 -o plain/x.h5", "plain is a file, where a folder"),
        ("describe phantom -o bank.h5", "-o bank.h5 is a bank of text vectors that would be lost"),
        ("describe phantom --output jsn -o x.json", "no output 'jsn'; there is auto, json_schema"),
        ("bank merge bank.h5 bank.h5 -o bank.h5", "-o bank.h5 would be written over what"),
        ("bank control random --like bank.h5 -o d.json", "-o d.json is a description set that"),
        ("bank export bank.h5 -o bank.h5", "-o bank.h5 would be written over what"),
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


def test_what_is_of_the_same_kind_is_written_over_and_new_folders_may_be_named(files):
    assert writable(files / "bank.h5", "bank", files / "d.json") == files / "bank.h5"
    assert writable(files / "new" / "ä b" / "bank.h5", "bank").name == "bank.h5"
