"""The descriptor of a folder: named, in the folder, or a message that says how to get one."""

import shutil

import pytest

from pipeline.datasets.descriptors import find_descriptor
from tests.support.paths import DATA


@pytest.fixture
def raw(tmp_path):
    """A folder that looks like a data set as downloaded."""
    (tmp_path / "imagesTr").mkdir()
    return tmp_path


def test_a_named_descriptor_comes_before_that_of_the_folder(raw):
    shutil.copy(DATA / "phantom.toml", raw / "dataset.toml")
    assert find_descriptor(raw, None).name == "phantom"
    assert find_descriptor(raw, "amos").name == "amos"


def test_a_folder_without_a_descriptor_is_answered_with_ways_to_get_one(raw):
    with pytest.raises(ValueError, match=r"has no dataset\.toml; `tak init .*--descriptor: amos"):
        find_descriptor(raw, None)


def test_an_empty_folder_and_a_file_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="is empty; expected the folder of a data set"):
        find_descriptor(tmp_path, None)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(NotADirectoryError, match=r"notes\.txt is a file; expected the folder"):
        find_descriptor(tmp_path / "notes.txt", None)


def test_a_typo_in_the_name_is_answered(raw):
    with pytest.raises(LookupError, match=r"no 'amso' among data: .*did you mean amos\?"):
        find_descriptor(raw, "amso")
