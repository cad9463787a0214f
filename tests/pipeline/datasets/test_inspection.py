import gzip
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from matplotlib import image as picture

from pipeline.datasets.inspection import inspect
from pipeline.pictures import contact_sheet as sheet
from segmentation.data.descriptor import DatasetSpec
from segmentation.imaging.volume import (
    canonical,
    read_labels,
    read_volume,
    write_labels,
    write_volume,
)
from segmentation.phantom.population import Population, make_population
from tests.support.paths import DATA

SHIPPED = DatasetSpec.read(DATA / "phantom.toml")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inspect") / "phantoms"
    make_population(SHIPPED, folder, Population(3, 1, 1, 1, 9.0, None, 0))
    return folder


@pytest.fixture
def root(healthy, tmp_path) -> Path:
    return shutil.copytree(healthy, tmp_path / "phantoms")


def spec_of(root: Path) -> DatasetSpec:
    return DatasetSpec.read(root / "dataset.toml")


def change_labels(path: Path, change) -> None:
    mask = read_labels(path)
    write_labels(path, change(mask.voxels.copy()), mask.affine)


def kinds(root: Path, severity="fault") -> dict[str, tuple[str, ...]]:
    found = inspect(spec_of(root), root).findings
    return {finding.kind: finding.cases for finding in found if finding.severity == severity}


def test_a_healthy_population_has_no_fault(healthy):
    seen = inspect(spec_of(healthy), healthy)
    assert seen.faults == ()
    assert [look.case for look in seen.looks] == [f"phantom_{i:04}" for i in range(6)]


def test_facts_are_those_that_nibabel_finds(healthy):
    facts = inspect(spec_of(healthy), healthy).looks[0].facts
    scan, mask = nibabel.load(facts["image"]), nibabel.load(facts["label"])
    gray, labels = scan.get_fdata(), np.asarray(mask.dataobj)
    assert facts["shape"] == list(scan.shape)
    assert facts["orientation"] == "".join(nibabel.aff2axcodes(scan.affine))
    np.testing.assert_allclose(facts["spacing_mm"], scan.header.get_zooms(), atol=1e-3)
    assert facts["intensity"]["minimum"] == gray.min()
    liver = labels == SHIPPED.labels["liver"]
    found = facts["organs"]["liver"]
    milliliters = liver.sum() * np.prod(scan.header.get_zooms()) / 1000
    assert found["volume_ml"] == pytest.approx(milliliters, rel=1e-4)
    assert found["mean_hu"] == pytest.approx(gray[liver].mean(), abs=0.01)


def test_labels_of_one_pair_exchanged_are_found(root):
    right, left = SHIPPED.paired[0]

    def exchange(labels):
        swapped = labels.copy()
        swapped[labels == right], swapped[labels == left] = left, right
        return swapped

    change_labels(root / "labelsTr/phantom_0001.nii.gz", exchange)
    assert kinds(root) == {"left and right exchanged": ("phantom_0001",)}


def test_a_mirrored_patient_is_told_from_exchanged_labels(root):
    """Scan and mask written with an affine whose left and right are exchanged."""
    mirror = np.diag([-1.0, 1, 1, 1])
    scan, mask = root / "imagesTr/phantom_0002_0000.nii.gz", root / "labelsTr/phantom_0002.nii.gz"
    for path, write, read in [(scan, write_volume, read_volume), (mask, write_labels, read_labels)]:
        volume = read(path)
        write(path, volume.voxels, mirror @ volume.affine)
    assert kinds(root) == {"mirrored": ("phantom_0002",)}


def test_the_same_image_stored_twice_is_found_even_turned_and_packed_anew(root):
    twin = canonical(read_volume(root / "imagesTr/phantom_0000_0000.nii.gz"))
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = twin.voxels.shape[0] - 1
    write_volume(root / "imagesTr/phantom_0003_0000.nii.gz", twin.voxels[::-1], twin.affine @ flip)
    assert kinds(root) == {"duplicate image": ("phantom_0000", "phantom_0003")}


def test_a_deleted_organ_is_a_doubt_that_names_it(root):
    label = SHIPPED.labels["spleen"]
    change_labels(root / "labelsTr/phantom_0000.nii.gz", lambda mask: mask * (mask != label))
    found = inspect(spec_of(root), root).findings
    told = [finding.text for finding in found if "spleen" in finding.text]
    assert len(told) == 1
    assert "no voxel of spleen" in told[0]
    assert kinds(root) == {}


def test_truncated_files_and_masks_that_do_not_fit_are_named_and_the_rest_is_seen(root):
    cut = root / "imagesTr/phantom_0000_0000.nii.gz"
    cut.write_bytes(cut.read_bytes()[:3000])
    short = root / "labelsTr/phantom_0001.nii.gz"
    short.write_bytes(gzip.compress(gzip.decompress(short.read_bytes())[:-50]))
    change_labels(root / "labelsTr/phantom_0002.nii.gz", lambda mask: np.where(mask == 1, 77, mask))
    seen = inspect(spec_of(root), root)
    told = {finding.cases[0]: finding.text for finding in seen.faults}
    assert f"{cut}: damaged" in told["phantom_0000"]
    assert f"{short}: damaged" in told["phantom_0001"]
    assert "label 77, which phantom does not have" in told["phantom_0002"]
    assert len(told) == 3
    assert len(seen.looks) == 6
    assert seen.looks[1].facts["shape"]


def test_intensities_unlike_hu_are_a_doubt(root):
    path = root / "imagesTr/phantom_0001_0000.nii.gz"
    scan = read_volume(path)
    write_volume(path, scan.voxels + 1024, scan.affine)
    assert kinds(root, "doubt")["intensity"] == ("phantom_0001",)


def test_the_command_prints_json_and_ends_with_1_on_a_fault(tak, root, tmp_path):
    words = ["inspect", root, "--json", "-o", tmp_path / "seen", "--jobs", 2]
    code, out, _ = tak(*words)
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "seen/inspection.json").read_text())
    sheet_file = picture.imread(tmp_path / "seen/contact-sheet.png")
    assert sheet_file.shape[0] > 300
    assert len(np.unique(sheet_file.reshape(-1, sheet_file.shape[2]), axis=0)) > 100
    (root / "imagesTr/phantom_0000_0000.nii.gz").write_bytes(b"")
    code, out, _ = tak(*words)
    assert code == 1
    assert json.loads(out)["findings"][0]["kind"] == "unreadable"


def test_the_command_tells_people_in_tables(tak, root):
    code, out, _ = tak("inspect", root)
    assert code == 0
    for told in ("phantom_0005", "Organ volumes, ml", "no mask", "liver"):
        assert told in out


def test_a_mask_that_cannot_be_read_is_faulty_and_not_absent(tak, root):
    (root / "labelsTr/phantom_0000.nii.gz").write_bytes(b"")
    code, out, _ = tak("inspect", root)
    assert code == 1
    (row,) = [line for line in out.splitlines() if "phantom_0000" in line and "faulty" in line]
    assert "no mask" not in row


def test_a_folder_without_a_descriptor_is_one_line(tak, tmp_path):
    code, _, err = tak("inspect", tmp_path)
    assert code == 1
    assert "is empty; expected the folder of a data set" in err


def test_more_cases_than_fit_go_to_further_sheets(healthy, tmp_path, monkeypatch):
    monkeypatch.setattr(sheet, "PER_SHEET", 4)
    seen = inspect(spec_of(healthy), healthy)
    tiles = [(look.case, look.tile) for look in seen.looks if look.tile]
    made = sheet.write_sheets(tiles, set(), SHIPPED, tmp_path)
    assert [path.name for path in made] == ["contact-sheet.png", "contact-sheet-2.png"]


def test_an_organ_on_the_patient_s_right_is_on_the_left_of_the_picture(healthy):
    look = inspect(spec_of(healthy), healthy).looks[0]
    liver = np.array(sheet.colors(SHIPPED.classes)[SHIPPED.labels["liver"]], float)
    assert look.tile is not None
    pixels = look.tile.coronal.astype(float)
    colored = np.ptp(pixels, axis=2) > 40
    near = pixels @ liver / (np.linalg.norm(pixels, axis=2) * np.linalg.norm(liver) + 1e-9) > 0.985
    columns = np.argwhere(colored & near)[:, 1]
    assert len(columns) > 50
    assert columns.mean() < pixels.shape[1] / 2
