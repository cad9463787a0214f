import json
from pathlib import Path

import pytest

from segmentation.data.descriptor import DatasetSpec
from segmentation.data.layouts import detect_layout
from segmentation.data.raw_cases import cases_in, find_cases
from tests.support.paths import DATA

AMOS, SYNAPSE, PHANTOM = (
    DatasetSpec.read(DATA / f"{name}.toml") for name in ("amos", "synapse", "phantom")
)


def lay(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def found(spec, root) -> dict[str, tuple[str, str | None]]:
    return {
        name: (
            case.image.relative_to(root).as_posix(),
            case.label and case.label.relative_to(root).as_posix(),
        )
        for name, case in find_cases(spec, root).items()
    }


def test_amos_lies_in_tr_va_and_ts(tmp_path):
    root = lay(
        tmp_path,
        "imagesTr/amos_0001.nii.gz", "labelsTr/amos_0001.nii.gz", "readme.md",
        "imagesVa/amos_0008.nii.gz", "labelsVa/amos_0008.nii.gz", "imagesTr/._amos_0001.nii.gz",
        "imagesTs/amos_0002.nii.gz",
    )  # fmt: skip
    assert found(AMOS, root) == {
        "amos_0001": ("imagesTr/amos_0001.nii.gz", "labelsTr/amos_0001.nii.gz"),
        "amos_0002": ("imagesTs/amos_0002.nii.gz", None),
        "amos_0008": ("imagesVa/amos_0008.nii.gz", "labelsVa/amos_0008.nii.gz"),
    }


@pytest.mark.parametrize("folders", [("", ""), ("img/", "label/"), ("RawData/Training/img/",) * 2])
def test_synapse_lies_in_one_folder_or_several(tmp_path, folders):
    images, labels = folders
    root = lay(tmp_path, f"{images}img0001.nii.gz", f"{labels}label0001.nii.gz")
    assert found(SYNAPSE, root) == {
        "0001": (f"{images}img0001.nii.gz", f"{labels}label0001.nii.gz")
    }


def test_nnunet_marks_the_channel_of_its_scans(tmp_path):
    root = lay(
        tmp_path,
        "imagesTr/case_7_0000.nii.gz", "labelsTr/case_7.nii.gz", "imagesTs/x_0000.nii",
    )  # fmt: skip
    assert found(PHANTOM, root) == {
        "case_7": ("imagesTr/case_7_0000.nii.gz", "labelsTr/case_7.nii.gz"),
        "x": ("imagesTs/x_0000.nii", None),
    }


@pytest.mark.parametrize("name", ["case_0001.nii.gz", "case.nii.gz"])
def test_nnunet_scans_without_the_mark_are_refused(tmp_path, name):
    root = lay(tmp_path, f"imagesTr/{name}")
    with pytest.raises(ValueError, match=rf"{name}: scans of this layout end in _0000\.nii\.gz"):
        find_cases(PHANTOM, root)


def test_two_files_of_one_case_are_refused(tmp_path):
    root = lay(tmp_path, "a/img0001.nii.gz", "b/img0001.nii.gz")
    with pytest.raises(ValueError, match="case 0001 has two image files"):
        find_cases(SYNAPSE, root)


def test_a_folder_without_scans_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no scan in the layout 'amos' \(imagesTr/NAME"):
        find_cases(AMOS, tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder of scans"):
        find_cases(AMOS, tmp_path / "none")


def test_a_label_table_that_numbers_organs_otherwise_is_refused(tmp_path):
    root = lay(tmp_path, "imagesTr/amos_0001.nii.gz")
    table = {str(value): name for value, name in enumerate(AMOS.classes)}
    table |= {"8": "another spelling", "9": "postcava"}
    (root / "dataset.json").write_text(json.dumps({"labels": table}))
    assert list(find_cases(AMOS, root)) == ["amos_0001"]
    table |= {"1": "liver"}
    (root / "dataset.json").write_text(json.dumps({"labels": table}))
    with pytest.raises(ValueError, match=r"dataset\.json: liver is label 1, but 6 in amos"):
        find_cases(AMOS, root)
    (root / "dataset.json").write_text("[")
    with pytest.raises(ValueError, match=r"dataset\.json: not a JSON table"):
        find_cases(AMOS, root)


def test_pairs_lie_in_two_folders_with_usual_names(tmp_path):
    root = lay(tmp_path, "Images/a_0000.nii.gz", "Images/a_0001.nii.gz", "masks/a_0000_seg.nii.gz")
    pairs = {name: case.label for name, case in cases_in(root, "pairs").items()}
    assert pairs == {"a_0000": root / "masks/a_0000_seg.nii.gz", "a_0001": None}
    lay(root, "other/x.nii.gz")
    assert detect_layout(root) == "pairs"


def test_totalsegmentator_has_a_folder_per_case(tmp_path):
    root = lay(
        tmp_path,
        "s0001/ct.nii.gz", "s0001/segmentations/liver.nii.gz",
        "s0002/ct.nii.gz", "s0002/labels.nii.gz", "meta.csv", "logs/x.txt",
    )  # fmt: skip
    cases = cases_in(root, "totalsegmentator")
    assert {name: case.label for name, case in cases.items()} == {
        "s0001": root / "s0001/segmentations",
        "s0002": root / "s0002/labels.nii.gz",
    }
    assert detect_layout(root) == "totalsegmentator"
    lay(root, "s0002/more.nii.gz")
    with pytest.raises(ValueError, match=r"expected one label map beside ct.nii.gz.*got labels"):
        cases_in(root, "totalsegmentator")


@pytest.mark.parametrize(
    ("files", "layout"),
    [
        (("imagesTr/a_0000.nii.gz",), "nnunet"),
        (("imagesTr/amos_0001.nii.gz",), "amos"),
        (("RawData/Training/img/img0001.nii.gz",), "synapse"),
        (("images/a.nii.gz",), None),
        ((), None),
    ],
)
def test_layouts_are_detected(tmp_path, files, layout):
    assert detect_layout(lay(tmp_path, *files)) == layout


def test_a_number_of_a_case_is_no_channel(tmp_path):
    root = lay(tmp_path, "imagesTr/amos_0000.nii.gz", "labelsTr/amos_0000.nii.gz")
    assert detect_layout(root) == "amos"
    two = lay(tmp_path / "two", "imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz")
    assert detect_layout(two) == "nnunet"
    with pytest.raises(ValueError, match="several channels are not read"):
        cases_in(two, "nnunet")
