"""Masks without any organ: told by every command that meets them, refused where all are so."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli import main
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.preparation import load_prepared
from segmentation.imaging.volume import read_labels, write_labels
from segmentation.phantom.population import Population, make_population
from tests.support.paths import DATA
from tests.support.shared_export import export

SHIPPED = DatasetSpec.read(DATA / "phantom.toml")
EMPTY = "its mask is empty: no organ is labeled in it"


@pytest.fixture(scope="module")
def healthy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("empty") / "phantoms"
    make_population(SHIPPED, folder, Population(2, 1, 1, 1, 9.0, None, 0))
    return folder


@pytest.fixture
def root(healthy, tmp_path) -> Path:
    return shutil.copytree(healthy, tmp_path / "phantoms")


@pytest.fixture
def tak(monkeypatch, capsys):
    """Run `tak` in this process; gives exit code, standard output and standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tak", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        told = capsys.readouterr()
        return int(end.value.code or 0), " ".join(told.out.split()), " ".join(told.err.split())

    return run


def parts(root: Path):
    return DatasetSpec.read(root / "dataset.toml").split(root=root)


def clear(root: Path, case: str) -> Path:
    path = next(root.glob(f"labels*/{case}.nii.gz"))
    mask = read_labels(path)
    write_labels(path, np.zeros_like(mask.voxels), mask.affine)
    return path


def clear_array(folder: Path, case: str) -> None:
    path = folder / f"{case}_label.npy"
    np.save(path, np.zeros_like(np.load(path)))


def test_prepare_warns_of_an_empty_mask_each_time(tak, root, tmp_path):
    labeled, test = parts(root).labeled[1], parts(root).test[0]
    clear(root, labeled)
    clear(root, test)
    for _ in range(2):  # the second call keeps what the first has made
        code, _, err = tak("prepare", root, "-o", tmp_path / "done", "--spacing", 12, 12, 12)
        assert code == 0
        assert f"warning: case {labeled} (labeled): {EMPTY}" in err
        assert f"warning: case {test} (test): {EMPTY}" in err
        assert err.count("warning") == 2


def test_prepare_tells_a_mask_that_the_grid_loses_from_an_empty_one(tak, root, tmp_path):
    path = clear(root, parts(root).labeled[0])
    mask = read_labels(path)
    mask.voxels[0, 0, 0] = 1
    write_labels(path, mask.voxels, mask.affine)
    code, _, err = tak("prepare", root, "-o", tmp_path / "done", "--spacing", 40, 40, 40)
    assert code == 0
    assert "no organ of its mask is left on the grid" in err
    assert EMPTY not in err


@pytest.mark.parametrize("jobs", [1, 2])
def test_prepare_refuses_when_every_labeled_mask_is_empty(tak, root, tmp_path, jobs):
    for case in parts(root).labeled:
        clear(root, case)
    words = ["--spacing", 12, 12, 12, "--jobs", jobs]
    code, _, err = tak("prepare", root, "-o", tmp_path / "done", *words)
    assert code == 1
    assert f"the masks of all labeled cases are empty ({', '.join(parts(root).labeled)})" in err
    assert not (tmp_path / "done" / "dataset.json").exists()


def test_inspect_says_empty_instead_of_listing_every_organ(tak, root):
    case = parts(root).labeled[0]
    path = clear(root, case)
    code, out, _ = tak("inspect", root)
    assert code == 0
    assert f"doubt: case {case}, {path}: {EMPTY}".replace(" ", "") in out.replace(" ", "")
    assert "no voxel of" not in out


def test_an_empty_array_leaves_the_axes_to_the_others(tak, root, tmp_path):
    folder = tmp_path / "shared"
    export(root, folder, "npy-ga")
    case = parts(root).labeled[0]
    clear_array(folder, case)
    code, out, err = tak("prepare", folder, "-o", tmp_path / "done")
    assert code == 0
    assert "axes LPS by their organs, spacing" in out
    assert f"warning: case {case} (labeled): {EMPTY}" in err
    assert load_prepared(tmp_path / "done").split.labeled == parts(root).labeled


def test_empty_arrays_are_called_empty_where_the_axes_stay_open(tak, root, tmp_path):
    folder = tmp_path / "shared"
    export(root, folder, "npy-ga")
    known = parts(root)
    clear_array(folder, known.labeled[0])
    turned = folder / f"{known.test[0]}_label.npy"
    np.save(turned, np.load(turned)[::-1])
    code, _, err = tak("prepare", folder, "-o", tmp_path / "done")
    assert code == 1
    assert f"RPS in 1 (such as {known.test[0]}); empty in 1 (such as {known.labeled[0]})" in err
    assert "undecided" not in err
    for case in known.with_labels:
        clear_array(folder, case)
    code, _, err = tak("prepare", folder, "-o", tmp_path / "done")
    assert code == 1
    assert f"do not settle it: empty in 4 (such as {known.with_labels[0]})" in err


def test_a_comparison_names_masks_that_are_empty_on_one_side(tak, root, tmp_path):
    folder = tmp_path / "shared"
    export(root, folder, "npy-ga")
    known = parts(root)
    clear_array(folder, known.labeled[0])
    clear(root, known.labeled[1])
    clear(root, known.test[0])  # and on both sides, which is no difference
    clear_array(folder, known.test[0])
    code, out, _ = tak("prepare", root, "-o", tmp_path / "done", "--compare", folder)
    assert code == 0
    assert f"Empty, though the other has organs: the prepared mask of {known.labeled[1]}." in out
    assert f"Empty, though the other has organs: the folder's mask of {known.labeled[0]}." in out
