import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from segmentation.data.descriptor import DatasetSpec, Split
from tests.support.paths import DATA

SPLITS = [("amos", "2p"), ("amos", "5p"), ("amos", "10p"), ("synapse", "10p"), ("synapse", "20p")]


@pytest.fixture
def content() -> dict:
    return tomllib.loads((DATA / "phantom.toml").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lists = {"train": "a\nb\nc\n", "labeled": "b\n", "validation": "d\n", "test": "e\n\n"}
    for part, cases in lists.items():
        (tmp_path / f"{part}.txt").write_text(cases)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "count", "large"), [("amos", 15, 6), ("synapse", 13, 5), ("phantom", 13, 5)]
)
def test_shipped_descriptors_have_the_published_classes(name, count, large):
    spec = DatasetSpec.read(DATA / f"{name}.toml")
    assert spec.name == name
    assert len(spec.classes) == count + 1
    assert spec.classes[0] == "background"
    assert sum(organ.size == "large" for organ in spec.organs) == large
    assert list(spec.labels.values()) == list(range(1, count + 1))


def test_label_values_are_those_of_the_challenges():
    amos, synapse = (DatasetSpec.read(DATA / f"{name}.toml") for name in ("amos", "synapse"))
    assert amos.classes[6] == synapse.classes[6] == "liver"
    assert (amos.classes[10], synapse.classes[10]) == ("pancreas", "portal and splenic vein")
    assert amos.classes[13:] == ("duodenum", "bladder", "prostate or uterus")
    assert synapse.classes[11:] == ("pancreas", "right adrenal gland", "left adrenal gland")


def test_the_phantom_is_amos_without_the_pelvis():
    amos, phantom = (DatasetSpec.read(DATA / f"{name}.toml") for name in ("amos", "phantom"))
    assert phantom.by_label == amos.by_label[:13]


def test_pairs_are_right_then_left():
    assert DatasetSpec.read(DATA / "amos.toml").paired == ((2, 3), (11, 12))
    assert DatasetSpec.read(DATA / "synapse.toml").paired == ((2, 3), (12, 13))


def test_an_alias_finds_its_organ_and_a_stranger_lists_the_names():
    spec = DatasetSpec.read(DATA / "amos.toml")
    assert spec.organ("Oesophagus") is spec.organ("esophagus")
    assert spec.organ("RK").label == 2
    with pytest.raises(LookupError, match="no organ 'heart' in amos; there is spleen, right kid"):
        spec.organ("heart")


@pytest.mark.parametrize(
    ("data", "name", "labeled", "unlabeled", "validation", "test"),
    [
        ("amos", "2p", 4, 212, 24, 120),
        ("amos", "5p", 10, 206, 24, 120),
        ("amos", "10p", 21, 195, 24, 120),
        ("synapse", "10p", 2, 18, 4, 6),
        ("synapse", "20p", 4, 16, 4, 6),
    ],
)
def test_shipped_splits_have_the_published_counts(data, name, labeled, unlabeled, validation, test):
    split = DatasetSpec.read(DATA / f"{data}.toml").split(name)
    counts = [len(cases) for cases in split.parts().values()]
    assert counts == [labeled, unlabeled, validation, test]


@pytest.mark.parametrize(("data", "name"), SPLITS)
def test_shipped_splits_are_disjoint_and_cover_the_train_list(data, name):
    split = DatasetSpec.read(DATA / f"{data}.toml").split(name)
    listed = (DATA / "splits" / data / "train.txt").read_text().split()
    assert sorted(split.train) == sorted(listed)
    assert len(set(split.cases)) == len(split.cases) == sum(map(len, split.parts().values()))


def test_the_smallest_published_label_sets_are_as_printed():
    amos = DatasetSpec.read(DATA / "amos.toml").split("2p")
    assert amos.labeled == ("amos_0017", "amos_0077", "amos_0358", "amos_0361")
    synapse = DatasetSpec.read(DATA / "synapse.toml").split("10p")
    assert synapse.labeled == ("0023", "0028")


def test_a_split_is_read_from_a_folder_and_unlabeled_is_derived(folder):
    expected = Split(labeled=("b",), unlabeled=("a", "c"), validation=("d",), test=("e",))
    assert Split.read(folder) == expected
    assert DatasetSpec.read(DATA / "amos.toml").split(folder) == expected
    assert DatasetSpec.read(DATA / "amos.toml").split(str(folder)) == expected


def test_splits_that_lie_with_the_data_are_found_there(folder):
    spec = DatasetSpec.read(DATA / "phantom.toml")
    (folder / "splits").mkdir()
    for path in list(folder.glob("*.txt")):
        path.rename(folder / "splits" / path.name)
    assert spec.split(root=folder).labeled == ("b",)
    assert spec.split("data", folder) == spec.split(None, folder)
    with pytest.raises(ValueError, match="are stored with its data"):
        spec.split()


def test_overlap_is_refused_with_the_list_of_cases(folder):
    (folder / "train.txt").rename(folder / "unlabeled.txt")
    (folder / "unlabeled.txt").write_text("a\nd\nc\ne\n")
    told = "1 in unlabeled and validation: d; 1 in unlabeled and test: e"
    with pytest.raises(ValueError, match=told):
        Split.read(folder)


def test_overlap_through_the_train_list_is_refused_too(folder):
    (folder / "train.txt").write_text("a\nb\nd\n")
    with pytest.raises(ValueError, match="1 in unlabeled and validation: d"):
        Split.read(folder)


def test_a_labeled_case_outside_the_train_list_is_refused(folder):
    (folder / "labeled.txt").write_text("b\nx\n")
    with pytest.raises(ValueError, match=r"1 labeled cases are not in the train list: x"):
        Split.read(folder)


def test_a_case_listed_twice_is_refused(folder):
    (folder / "test.txt").write_text("e\ne\n")
    with pytest.raises(ValueError, match="test lists e more than once"):
        Split.read(folder)


def test_train_and_unlabeled_lists_exclude_each_other(folder):
    (folder / "unlabeled.txt").write_text("a\n")
    with pytest.raises(ValueError, match=r"found train and unlabeled"):
        Split.read(folder)
    (folder / "unlabeled.txt").unlink()
    (folder / "train.txt").unlink()
    with pytest.raises(ValueError, match="found neither"):
        Split.read(folder)


def test_a_missing_list_is_named(folder):
    (folder / "test.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"test\.txt"):
        Split.read(folder)


def test_an_unknown_split_is_answered_with_the_names(tmp_path):
    spec = DatasetSpec.read(DATA / "amos.toml")
    with pytest.raises(LookupError, match="no split '20p': amos has 2p, 5p, 10p"):
        spec.split("20p")
    with pytest.raises(LookupError, match=r"which split\? amos has 2p, 5p, 10p"):
        spec.split()


def test_an_unknown_key_names_file_and_key(tmp_path):
    path = tmp_path / "own.toml"
    text = (DATA / "phantom.toml").read_text()
    path.write_text(text.replace('side = "right"', 'seite = "right"', 1))
    with pytest.raises(ValueError, match=r"own\.toml: organs\.1\.seite: unknown key"):
        DatasetSpec.read(path)
    path.write_text(text.replace("window_hu = [-150, 250]", "", 1))
    with pytest.raises(ValueError, match=r"own\.toml: window_hu: missing key"):
        DatasetSpec.read(path)
    path.write_text("name = ")
    with pytest.raises(ValueError, match=r"own\.toml: not a TOML file"):
        DatasetSpec.read(path)


def test_a_missing_descriptor_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        DatasetSpec.read(tmp_path / "none.toml")


def test_labels_with_a_gap_become_class_indices_in_their_order(content):
    names = [organ["name"] for organ in content["organs"]]
    before = DatasetSpec.check(content, Path("x.toml"))
    assert before.label_values is None
    content["organs"][3]["label"] = 14
    spec = DatasetSpec.check(content, Path("x.toml"))
    assert sorted(spec.labels.values()) == list(range(1, len(names) + 1))
    assert spec.classes[-1] == names[3]
    assert spec.label_values.classes[14] == len(names)
    assert spec.digest != before.digest
    again = DatasetSpec.check(spec.model_dump(mode="json"), Path("dataset.json"))
    assert again == spec


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (1, "label 1 belongs to two organs"),
        (0, "labels of organs must be 1 or more"),
        ("liver", "either numbers or names of mask files"),
        ([], r"organs\.3\.label"),
    ],
)
def test_labels_that_are_unclear_are_refused(content, label, message):
    content["organs"][3]["label"] = label
    with pytest.raises(ValueError, match=message):
        DatasetSpec.check(content, Path("x.toml"))


@pytest.mark.parametrize(
    ("key", "example"),
    [
        ("window_hu", "write window_hu = ["),
        ("grid", "write a table [grid] with spacing_mm"),
        ("splits", 'write splits = "data"'),
        ("layout", "write layout = "),
    ],
)
def test_a_missing_key_says_what_to_write(content, key, example):
    del content[key]
    with pytest.raises(ValueError, match=f"{key}: missing key") as fault:
        DatasetSpec.check(content, Path("x.toml"))
    assert example in str(fault.value)


def test_many_missing_keys_are_all_named_and_the_first_have_their_examples(tmp_path):
    (tmp_path / "own.toml").write_text('name = "a"\n[[organs]]\nname = "liver"\nlabel = 1\n')
    with pytest.raises(ValueError, match="title: missing key; write title = ") as fault:
        DatasetSpec.read(tmp_path / "own.toml")
    for key in ("modality", "layout", "window_hu", "grid", "protocol", "splits", "organs.0.size"):
        assert f"{key}: missing key" in str(fault.value)
    assert len(str(fault.value).replace(str(tmp_path), "")) <= 500


@pytest.mark.parametrize("name", ["liver", "Liver", "background", "oesophagus"])
def test_a_name_is_used_once(content, name):
    content["organs"][0]["name"] = name
    with pytest.raises(ValueError, match=f"used twice: {name.casefold()}"):
        DatasetSpec.check(content, Path("x.toml"))


@pytest.mark.parametrize("grid", [{}, {"spacing_mm": [1, 1, 1], "shape": [8, 8, 8]}])
def test_a_grid_is_a_spacing_or_a_shape(content, grid):
    with pytest.raises(ValueError, match="exactly one of spacing_mm"):
        DatasetSpec.check(content | {"grid": grid}, Path("x.toml"))


@pytest.mark.parametrize("grid", [{"spacing_mm": [1, 0, 1]}, {"shape": [8, -8, 8]}])
def test_a_grid_is_positive(content, grid):
    with pytest.raises(ValueError, match="must be positive"):
        DatasetSpec.check(content | {"grid": grid}, Path("x.toml"))


def test_a_window_rises(content):
    with pytest.raises(ValueError, match="must rise, not go from 250 to -150"):
        DatasetSpec.check(content | {"window_hu": [250, -150]}, Path("x.toml"))


def test_the_order_of_the_organs_in_the_file_does_not_matter(content):
    spec = DatasetSpec.check(content, Path("x.toml"))
    turned = DatasetSpec.check(content | {"organs": content["organs"][::-1]}, Path("x.toml"))
    assert turned.classes == spec.classes


def test_the_digest_follows_what_decides_a_prepared_case(content):
    spec = DatasetSpec.check(content, Path("x.toml"))
    assert DatasetSpec.check(content | {"title": "other"}, Path("y.toml")).digest == spec.digest
    other = DatasetSpec.check(content | {"window_hu": [-100, 250]}, Path("x.toml"))
    assert other.digest != spec.digest


def test_a_descriptor_is_frozen_and_survives_json(content):
    spec = DatasetSpec.check(content, Path("x.toml"))
    again = DatasetSpec.model_validate_json(spec.model_dump_json())
    assert again.model_dump() == spec.model_dump()
    with pytest.raises(ValidationError):
        spec.name = "other"  # type: ignore[misc]
