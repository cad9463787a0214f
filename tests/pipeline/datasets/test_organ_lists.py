"""Organ lists of any anatomy."""

import json
from pathlib import Path

import pytest

from pipeline.datasets.organ_lists import read_organ_list
from tests.support.paths import DATA


def write(path: Path, content: str) -> str:
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_a_shipped_data_set_and_a_descriptor_by_path_give_the_same_list() -> None:
    path = DATA / "synapse.toml"
    assert read_organ_list("synapse") == read_organ_list(str(path))
    assert read_organ_list("synapse").labels["pancreas"] == 11


def test_a_bare_list_of_names_is_enough(tmp_path: Path) -> None:
    source = write(tmp_path / "hand.toml", 'organs = ["scaphoid", "lunate bone"]')
    assert read_organ_list(source).classes == ("background", "scaphoid", "lunate bone")
    assert read_organ_list(source).name == "hand"
    assert read_organ_list(source).labels == {"scaphoid": 1, "lunate bone": 2}


def test_label_names_of_nnunet_are_taken_in_label_order(tmp_path: Path) -> None:
    labels = {"background": 0, "lung_left": 2, "heart": 1}
    source = write(tmp_path / "dataset.json", json.dumps({"labels": labels, "name": "chest"}))
    assert read_organ_list(source).classes == ("background", "heart", "lung left")
    assert read_organ_list(source).name == "chest"
    older = write(tmp_path / "d.json", json.dumps({"labels": {"0": "background", "1": "heart"}}))
    assert read_organ_list(older).labels == {"heart": 1}


def test_a_totalsegmentator_label_map_is_read(tmp_path: Path) -> None:
    source = write(tmp_path / "total.json", json.dumps({"1": "spleen", "2": "kidney_right"}))
    assert read_organ_list(source).classes == ("background", "spleen", "kidney right")


def test_a_text_file_is_taken_as_it_is(tmp_path: Path) -> None:
    source = write(tmp_path / "names.txt", "spleen\nliver\n\nhepatic vessel\n")
    assert read_organ_list(source).classes == ("spleen", "liver", "hepatic vessel")
    assert read_organ_list(source).labels["spleen"] == 1
    source = write(tmp_path / "more.txt", "background\nspleen\n")
    assert read_organ_list(source).labels == {"spleen": 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.toml", 'organs = ["a"]\nnmae = "x"', "unknown key 'nmae'"),
        ("a.toml", 'organs = ["a", "a"]', "an organ is listed twice"),
        ("a.json", '{"labels": {"a": [1, 2]}}', r"label 'a' is \[1, 2\]"),
        ("a.json", "[1]", "no label names"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", '{"1": "a", "2": "a"}', "two labels have the same name"),
        ("a.json", '{"background": 0}', "no organs"),
        ("a.txt", "a\na", "one class per line, each once"),
    ],
)
def test_an_unclear_list_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_organ_list(write(tmp_path / name, content))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file"):
        read_organ_list(str(tmp_path / "x.json"))
