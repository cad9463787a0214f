"""The user's folders add to what is shipped, and win where both have a name."""

import importlib.metadata
import json
import re
import shutil
import sys

import pytest

from knowledge.descriptions import DescriptionSet
from pipeline.cli import main
from pipeline.config.catalog import find as find_entries
from pipeline.files import shipped
from tests.support.paths import ROOT


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Folders with a wording, its recorded answers, and descriptors."""
    prompts, data = tmp_path / "own prompts", tmp_path / "own data"
    (data / "answers").mkdir(parents=True)
    prompts.mkdir()
    shutil.copy(ROOT / "prompts" / "paper.toml", prompts / "mine.toml")
    store = json.loads((ROOT / "data" / "answers" / "paper.json").read_text(encoding="utf-8"))
    (data / "answers" / "mine.json").write_text(json.dumps(store | {"model": "me"}))
    text = (ROOT / "data" / "phantom.toml").read_text(encoding="utf-8")
    (data / "toy.toml").write_text(text.replace('name = "phantom"', 'name = "toy"'))
    (data / "toy-dhc.toml").write_text('extends = "toy.toml"\nname = "toy-dhc"\n')
    (data / "notes.toml").write_text('about = "no descriptor"\n')
    monkeypatch.setenv("TAK_PROMPTS", str(prompts))
    monkeypatch.setenv("TAK_DATA", str(data))
    return prompts, data


@pytest.fixture
def tak(monkeypatch, capsys, tmp_path):
    """Run `tak` in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    for kind in ("TAK_PROMPTS", "TAK_DATA"):  # `tak` sets them for its process and its workers
        monkeypatch.setenv(kind, "")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["tak", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def test_names_of_both_folders_are_found(own):
    prompts, data = own
    assert {"mine", "paper", "terse"} <= set(shipped.names("prompts"))
    assert {"toy", "toy-dhc", "amos", "phantom"} <= set(shipped.names("data"))
    assert "notes" not in shipped.names("data")
    assert shipped.find("prompts", "mine").parent == prompts
    assert shipped.find("data", "amos").parent == shipped.reference("data")
    assert shipped.find_in("data", "answers", "mine.json").parent == data / "answers"
    assert shipped.find_in("data", "answers", "paper.json").parent.parent == ROOT / "data"
    with pytest.raises(LookupError, match=r"there is .*amos.*toy.*did you mean toy\?"):
        shipped.find("data", "toi")
    assert [entry.kind for entry in find_entries("toy")] == ["descriptor"]


def test_the_user_s_file_wins_where_both_have_a_name(own):
    prompts, _ = own
    shutil.copy(ROOT / "prompts" / "terse.toml", prompts / "paper.toml")
    assert shipped.find("prompts", "paper") == prompts / "paper.toml"


def test_a_file_of_another_kind_is_refused_by_name(own):
    _, data = own
    shutil.copy(ROOT / "prompts" / "paper.toml", data / "wrong.toml")
    with pytest.raises(ValueError, match=r"expected a descriptor.*wrong.toml is a prompt wording"):
        shipped.find("data", "wrong")


def test_folders_of_the_command_line_add_wordings_descriptors_and_answers(own, tak, tmp_path):
    prompts, data = own
    words = ("--prompts", prompts.name, "--data", data.name, "describe")
    assert tak(*words, "toy", "--template", "mine", "-o", "mine.json")[0] == 0
    described = DescriptionSet.read(tmp_path / "mine.json")
    assert described.template == "mine"
    assert described.descriptions[0].origin.model == "me"
    assert tak(*words, "amos", "--template", "paper", "-o", "paper.json")[0] == 0


@pytest.mark.parametrize("option", ["--prompts", "--data"])
def test_a_folder_that_is_not_there_is_named(tak, option):
    code, _, err = tak(option, "nowhere", "describe", "phantom", "-o", "d.json")
    assert code == 1
    assert "nowhere (TAK_" in err
    assert "there is no such folder" in err


def test_a_checkout_that_is_not_installed_knows_its_version(monkeypatch):
    """Without the package's metadata as `pip install` writes them, as with PYTHONPATH alone."""
    installed = shipped.version()

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert shipped.version() == installed


def test_a_file_that_is_missing_is_not_taken_for_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wordings.toml").write_text('title = "W"\n')
    for name, message in {
        "wording.toml": "^wording.toml: there is no such file or folder.*wordings.toml",
        "ablation.toml": "^ablation.toml: .*; ablation, without the ending, is a known name$",
        "ablatoin": "^no 'ablatoin' among studies: .*did you mean ablation",
    }.items():
        with pytest.raises(LookupError if name == "ablatoin" else FileNotFoundError) as fault:
            shipped.find("studies", name)
        assert re.search(message, str(fault.value.args[0])), fault.value
