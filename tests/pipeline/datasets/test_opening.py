"""One place decides what kind of folder it is; prepare and inspect read every format alike."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pipeline.datasets.opening import open_data
from segmentation.data.case_files import load_prepared, read_case
from segmentation.data.layouts import LAYOUTS
from segmentation.imaging.volume import read_volume
from tests.support.dicom_objects import write_series
from tests.support.shared_export import export

SMALL = ["--labeled", 1, "--unlabeled", 0, "--validation", 0, "--test", 1, "--spacing", 9]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory) -> Path:
    from segmentation.data.descriptor import DatasetSpec
    from segmentation.phantom.population import Population, make_population
    from tests.support.paths import DATA

    folder = tmp_path_factory.mktemp("opening") / "phantoms"
    spec = DatasetSpec.read(DATA / "phantom.toml")
    make_population(spec, folder, Population(1, 0, 0, 1, 9.0, None, 1))
    return folder


@pytest.fixture
def phantoms(healthy, tmp_path) -> Path:
    return shutil.copytree(healthy, tmp_path / "phantoms")


def change(path: Path, flip=(1, 1, 1), scale=1.0) -> None:
    """The same voxels under another affine."""
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[:3] *= scale
    voxels = np.asarray(image.dataobj)
    nibabel.save(nibabel.Nifti1Image(voxels, affine @ np.diag([*flip, 1.0])), path)


def test_the_kind_of_a_folder_is_found(tak, phantoms, tmp_path):
    data = open_data(phantoms)
    assert (data.kind, data.reader.layout, data.split.labeled) == (
        "raw", "nnunet", ("phantom_0000",)
    )  # fmt: skip
    export(phantoms, tmp_path / "arrays", "npy-dhc")
    assert open_data(tmp_path / "arrays").kind == "arrays"
    assert open_data(tmp_path / "arrays", require_split=False).reader.layout == "npy-dhc"
    code, _, err = tak("prepare", phantoms, "-o", tmp_path / "done")
    assert code == 0, err
    assert open_data(tmp_path / "done", accept=("prepared",)).kind == "prepared"
    with pytest.raises(ValueError, match="prepared data set"):
        open_data(tmp_path / "done")
    (tmp_path / "masks").mkdir()
    for path in (phantoms / "labelsTr").iterdir():
        shutil.copy(path, tmp_path / "masks")
    data = open_data(tmp_path / "masks", str(phantoms / "dataset.toml"), accept=("masks",))
    assert (data.kind, list(data.masks)) == ("masks", ["phantom_0000"])


def test_dicom_series_are_prepared_and_inspected_like_files(tak, phantoms, tmp_path):
    """Masks are stored in another axis order than the series, on the same grid."""
    assert tak("prepare", phantoms, "-o", tmp_path / "nifti")[0] == 0
    for path in phantoms.glob("images*/*.nii.gz"):
        image = nibabel.as_closest_canonical(nibabel.load(path))
        series = path.with_name(path.name.removesuffix(".nii.gz"))
        lps = np.asarray(image.dataobj)[::-1, ::-1].astype(float)
        corner = image.affine @ [*np.subtract(image.shape[:2], 1), 0, 1]
        x, y, z = nibabel.affines.voxel_sizes(image.affine)
        off = np.abs(image.affine[:3, :3] - np.diag([x, y, z])).max()
        if off > 1e-6:
            pytest.skip("an oblique phantom")
        places = [
            np.round((-corner[0], -corner[1], corner[2] + z * k), 4) for k in range(image.shape[2])
        ]
        write_series(
            series, lps.transpose(2, 1, 0), places, PixelSpacing=(round(y, 5), round(x, 5))
        )
        path.unlink()
    code, _, err = tak("prepare", phantoms, "-o", tmp_path / "dicom")
    assert code == 0, err
    for case in load_prepared(tmp_path / "nifti").cases:
        one, other = (read_case(tmp_path / kind / f"{case}.h5") for kind in ("nifti", "dicom"))
        np.testing.assert_allclose(one.image, other.image, atol=2e-5)
        np.testing.assert_array_equal(one.label, other.label)
    assert tak("inspect", phantoms)[0] == 0
    code, _, err = tak("prepare", phantoms, "-o", series / "out")
    assert code == 1
    assert "lies in the folder of the series" in err


@pytest.mark.parametrize(
    ("flip", "words"),
    [((1, -1, 1), "front and back exchanged"), ((1, 1, -1), "head and feet exchanged")],
)
def test_mirrored_and_upside_down_scans_are_noticed(tak, phantoms, tmp_path, flip, words):
    for path in phantoms.glob("*Tr/*.nii.gz"):
        image = nibabel.as_closest_canonical(nibabel.load(path))
        nibabel.save(image, path)
        change(path, flip)
    issues = json.loads(tak("inspect", phantoms, "--json")[1])["findings"]
    assert [words in i["text"] for i in issues if i["kind"] == "orientation"] == [True]
    code, _, err = tak("prepare", phantoms, "-o", tmp_path / "out")
    assert code == 0
    assert words in err


def test_organ_volumes_are_judged_on_every_data_set(tak, phantoms, tmp_path):
    for path in phantoms.glob("*Tr/*.nii.gz"):
        change(path, scale=3.0)
    issues = json.loads(tak("inspect", phantoms, "--json")[1])["findings"]
    assert [issue["cases"] for issue in issues if issue["kind"] == "organ volumes"] == [
        ["phantom_0000"]
    ]
    _, _, err = tak("prepare", phantoms, "-o", tmp_path / "out")
    assert "times the volume of an adult's" in err


def test_doubtful_headers_are_refused_by_prepare_unless_an_option_settles_it(
    tak, phantoms, tmp_path
):
    for path in phantoms.glob("*/*.nii.gz"):
        change(path, scale=1000.0)
    words = ["prepare", phantoms, "-o", tmp_path / "out"]
    code, _, err = tak(*words)
    assert (code, "give --trust-headers to read it unchanged" in err) == (1, True)
    code, _, err = tak(*words, "--trust-headers")
    assert (code, "is the voxel size in its header right?" in err) == (1, True)
    assert "header: spacing" in {
        issue["kind"] for issue in json.loads(tak("inspect", phantoms, "--json")[1])["findings"]
    }


def test_help_lists_every_layout(tak):
    text = tak("prepare", "--help")[1]
    assert all(name in text for name in LAYOUTS)


def test_nrrd_and_metaimage_files_are_prepared(tak, phantoms, tmp_path):
    from segmentation.imaging.volume import write_volume

    for path in phantoms.glob("*/*.nii.gz"):
        volume = read_volume(path)
        suffix = ".nrrd" if "labels" in str(path) else ".mha"
        target = path.with_name(path.name.replace(".nii.gz", suffix))
        write_volume(target, volume.voxels.astype(np.int16), volume.affine)
        path.unlink()
    code, _, err = tak("prepare", phantoms, "-o", tmp_path / "out")
    assert code == 0, err
