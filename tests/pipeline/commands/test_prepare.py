import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from segmentation.data.preparation import load_prepared
from tests.support.paths import DATA


def counts(labeled: int, unlabeled: int, validation: int, test: int) -> list[object]:
    training = ["--labeled", labeled, "--unlabeled", unlabeled]
    return [*training, "--validation", validation, "--test", test]


SMALL = [*counts(1, 1, 1, 1), "--spacing", 9]


@pytest.fixture
def phantoms(tak, tmp_path) -> Path:
    code, out, _ = tak("phantom", tmp_path / "phantoms", *SMALL)
    assert code == 0
    assert "4 scans written; 13 organs" in out
    return tmp_path / "phantoms"


def test_a_population_is_prepared_without_naming_its_descriptor(tak, phantoms, tmp_path):
    code, out, _ = tak("prepare", phantoms, "-o", tmp_path / "done", "--jobs", 2)
    assert code == 0
    assert "1 labeled, 1 unlabeled, 1 validation, 1 test; 13 organs, protocol phantom" in out
    assert len(load_prepared(tmp_path / "done").cases) == 4


def test_a_second_phantom_call_says_that_all_is_there(tak, phantoms):
    code, out, _ = tak("phantom", phantoms, *SMALL)
    assert code == 0
    assert "0 scans written, 4 existed" in out


def test_another_seed_in_the_same_folder_is_an_error_in_one_line(tak, phantoms):
    code, _, err = tak("phantom", phantoms, *SMALL, "--seed", 1)
    assert code == 1
    assert err.startswith("error: ")
    assert "holds another population" in err
    assert len(err.strip().splitlines()) == 1


def test_all_organs_of_amos_at_a_shape(tak, tmp_path):
    words = ["--descriptor", "amos", *counts(1, 0, 0, 0)]
    code, out, _ = tak("phantom", tmp_path / "out", *words, "--shape", 60, 50, 64)
    assert code == 0
    assert "15 organs" in out
    scan = nibabel.load(tmp_path / "out/imagesTr/phantom_0000_0000.nii.gz")
    mask = nibabel.load(tmp_path / "out/labelsTr/phantom_0000.nii.gz")
    assert sorted(scan.shape) == [50, 60, 64]
    assert set(np.unique(mask.dataobj)) == set(range(16))


def test_amos_is_prepared_by_its_shipped_name_and_an_own_split(tak, tmp_path):
    """Phantoms in the folders of AMOS22, with lists of the user's own."""
    words = ["--descriptor", "amos", *counts(1, 1, 0, 1)]
    assert tak("phantom", tmp_path / "made", *words, "--spacing", 9)[0] == 0
    for part, target in {"imagesTr": "imagesTr", "imagesTs": "imagesVa"}.items():
        (tmp_path / "AMOS22" / target).mkdir(parents=True)
        for path in (tmp_path / "made" / part).iterdir():
            name = path.name.replace("_0000.nii", ".nii")
            shutil.copy(path, tmp_path / "AMOS22" / target / name)
    shutil.copytree(tmp_path / "made" / "labelsTr", tmp_path / "AMOS22" / "labelsTr")
    shutil.copytree(tmp_path / "made" / "labelsTs", tmp_path / "AMOS22" / "labelsVa")
    own = tmp_path / "amos.toml"
    shipped = DATA / "amos.toml"
    own.write_text(shipped.read_text().replace("[1.5, 1.5, 2.0]", "[9.0, 9.0, 9.0]"))
    shutil.copytree(shipped.parent / "splits", tmp_path / "splits")
    words = ["--descriptor", own, "--split", tmp_path / "made" / "splits"]
    code, out, _ = tak("prepare", tmp_path / "AMOS22", "-o", tmp_path / "done", *words)
    assert code == 0
    assert "1 labeled, 1 unlabeled, 0 validation, 1 test; 15 organs, protocol amos-ga" in out
    code, _, err = tak("prepare", tmp_path / "AMOS22", "-o", tmp_path / "x", "--descriptor", own)
    assert (code, "which split? amos has 2p, 5p, 10p" in err) == (1, True)
    words = ["--descriptor", own, "--split", "2p"]
    code, _, err = tak("prepare", tmp_path / "AMOS22", "-o", tmp_path / "x", *words)
    assert (code, "no scan for amos_0017" in err) == (1, True)
    assert not (tmp_path / "x").exists()


def test_a_folder_s_own_descriptor_is_pointed_at_where_another_has_no_such_split(
    tak, phantoms, tmp_path
):
    words = ["prepare", phantoms, "-o", tmp_path / "x"]
    hint = f"{phantoms} has a dataset.toml of its own, which is used without --descriptor"
    for split, told in ([], "which split? amos has 2p"), (["--split", "3p"], "no split '3p': amos"):
        code, _, err = tak(*words, "--descriptor", "amos", *split)
        assert code == 1
        assert told in err
        assert err.endswith(f"test .txt; {hint}\n")
    own = ["--descriptor", phantoms / "dataset.toml", "--split", "3p"]
    code, _, err = tak(*words, *own)
    assert (code, "no split '3p': phantom has data" in err, hint in err) == (1, True, False)
    (phantoms / "dataset.toml").unlink()
    code, _, err = tak(*words, "--descriptor", "amos")
    assert (code, "which split? amos has 2p" in err, hint in err) == (1, True, False)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["prepare", "{}", "-o", "{}/out"], "is empty; expected the folder of a data set"),
        (["prepare", "{}", "-o", "{}/out", "--descriptor", "amoss"], "no 'amoss' among data"),
        (["phantom", "{}/out", "--descriptor", "nix"], "no 'nix' among data: there is amos"),
        (["phantom", "{}/out", "--labeled", "0"], "labeled must be at least 1, not 0"),
        (["phantom", "{}/out", "--spacing", "40"], "are too large for"),
        (["phantom", "{}/out", "--spacing", "5", "--shape", "9", "9", "9"], "exactly one of"),
        (["phantom", "{}/out", "--jobs", "0"], "expected a number of processes"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tak, tmp_path, words, told):
    code, _, err = tak(*(word.format(tmp_path) for word in words))
    assert code == 1
    assert told in err
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_truncated_scan_ends_prepare_with_one_line(tak, phantoms, tmp_path):
    path = next((phantoms / "imagesTr").iterdir())
    path.write_bytes(path.read_bytes()[:2000])
    code, _, err = tak("prepare", phantoms, "-o", tmp_path / "done", "--jobs", 2)
    assert code == 1
    assert err.strip().splitlines() == [err.strip()]
    assert f"{path}: damaged" in err
    assert not (tmp_path / "done" / "dataset.json").exists()
