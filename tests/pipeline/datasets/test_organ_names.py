"""Organs matched by name: word order, separators, aliases, and what is refused."""

import json

import pytest

from pipeline.datasets.organ_names import match_organs, names_of_masks, plain_words

ORGANS = {"left kidney": (), "inferior vena cava": ("postcava", "IVC"), "liver": ()}


@pytest.mark.parametrize("name", ["kidney_left", "Kidney-Left", "LEFT KIDNEY", "left.kidney"])
def test_word_order_case_and_separators_do_not_matter(name):
    assert plain_words(name) == plain_words("left kidney")
    names = [name, "ivc", "Liver", "brain"]
    assert match_organs(ORGANS, names) == {
        "left kidney": name, "inferior vena cava": "ivc", "liver": "Liver",
    }  # fmt: skip


def test_an_organ_with_two_names_is_not_guessed():
    with pytest.raises(LookupError, match=r"'postcava' and 'IVC' in the masks; choose one by"):
        match_organs(ORGANS, ["kidney_left", "postcava", "IVC", "liver"])
    names = ["kidney_left", "postcava", "IVC", "liver"]
    found = match_organs(ORGANS, names, ["inferior vena cava=IVC"])
    assert found["inferior vena cava"] == "IVC"


def test_what_is_missing_is_named_with_the_remedy():
    with pytest.raises(LookupError, match=r"no label is named liver; .*did you mean livr\?; --mat"):
        match_organs(ORGANS, ["kidney_left", "postcava", "livr"])
    with pytest.raises(ValueError, match="expected ORGAN=NAME"):
        match_organs(ORGANS, ["liver"], ["liver"])
    with pytest.raises(LookupError, match="no organ 'lver' in the truth"):
        match_organs(ORGANS, ["liver"], ["lver=liver"])


def test_names_are_found_in_the_folder_or_above(tmp_path):
    (tmp_path / "labelsTr").mkdir()
    table = {"name": "Task", "labels": {"background": 0, "kidney_left": 3}}
    (tmp_path / "dataset.json").write_text(json.dumps(table))
    assert names_of_masks(tmp_path / "labelsTr", None, None)[0].labels == {"kidney left": 3}
    (tmp_path / "labelsTr" / "dataset.json").write_text('{"labels": {"liver": 7}}')
    assert names_of_masks(tmp_path / "labelsTr", None, None)[0].labels == {"liver": 7}
