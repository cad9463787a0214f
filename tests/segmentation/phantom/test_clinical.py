"""Clinical subjects: volumes as measured on CT, HU that overlap, variants that real scans have."""

import numpy as np
import pytest

from segmentation.data.descriptor import DatasetSpec
from segmentation.phantom.clinical import clinical_subject, draw_scanner
from segmentation.phantom.scanner import scan_subject
from segmentation.phantom.subject import Scanner, plain_subject
from tests.support.paths import DATA

SPEC = DatasetSpec.read(DATA / "amos.toml")
ORGANS = SPEC.classes[1:]
SMALL = [organ.label for organ in SPEC.by_label if organ.size == "small"]
# ml of men and women together, half of each: means of Geraghty et al. 2004, measured on CT.
MEASURED_ML = {
    "liver": 1560,
    "spleen": 209,
    "right kidney": 175,
    "left kidney": 175,
    "pancreas": 76,
}


def clinical_scan(index, spacing_mm=6.0):
    random = np.random.default_rng([11, index])
    subject = clinical_subject(ORGANS, random)
    return subject, scan_subject(
        ORGANS, subject, draw_scanner(random), random, spacing_mm=spacing_mm
    )


@pytest.fixture(scope="module")
def scans():
    return [clinical_scan(index) for index in range(40)]


def volumes(scans, name):
    label = SPEC.labels[name]
    found = []
    for subject, scan in scans:
        milliliters = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
        if name not in subject.missing:
            found.append(np.count_nonzero(scan.labels == label) * milliliters)
    return np.array(found)


@pytest.mark.parametrize("name", MEASURED_ML)
def test_large_organs_have_the_volumes_that_were_measured_on_ct(scans, name):
    found = volumes(scans, name)
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean() - MEASURED_ML[name]) < 0.05 * MEASURED_ML[name] + 2 * error


def test_spleens_vary_more_than_livers_and_kidneys_of_a_subject_go_together(scans):
    liver, spleen = (volumes(scans, name) for name in ("liver", "spleen"))
    assert 0.10 < liver.std() / liver.mean() < 0.25
    assert 0.28 < spleen.std() / spleen.mean() < 0.65
    pairs = [
        [
            np.count_nonzero(scan.labels == SPEC.labels[f"{side} kidney"])
            for side in ("left", "right")
        ]
        for subject, scan in scans
        if not {"left kidney", "right kidney"} & subject.missing
    ]
    assert np.corrcoef(np.transpose(pairs))[0, 1] > 0.5


def test_missing_organs_have_no_voxel_and_all_others_do(scans):
    for subject, scan in scans:
        present = {ORGANS[label - 1] for label in np.unique(scan.labels) if label}
        assert present == set(ORGANS) - subject.missing
    missing = [subject.missing for subject, _ in scans]
    assert any("gallbladder" in names for names in missing)
    assert any("bladder" in names for names in missing)
    assert any(not names for names in missing)


def by_nearest_hu(train, test):
    """Share of organ voxels that the nearest median HU names, and Dice of small organs."""
    medians = np.array(
        [
            np.median(np.concatenate([scan.voxels[scan.labels == label] for scan in train]))
            for label in range(1, len(ORGANS) + 1)
        ]
    )
    right, dice = [], []
    for scan in test:
        nearest = np.abs(scan.voxels[..., None] - medians.astype(np.float32)).argmin(-1) + 1
        organs = scan.labels > 0
        right.append((nearest[organs] == scan.labels[organs]).mean())
        soft = (scan.voxels > -60) & (scan.voxels < 300)
        for label in SMALL:
            truth, found = scan.labels == label, soft & (nearest == label)
            if truth.any():
                dice.append(2 * (truth & found).sum() / (truth.sum() + found.sum()))
    return float(np.mean(right)), 100 * float(np.mean(dice))


def test_the_hu_alone_names_organs_less_often_than_in_plain_scans(scans):
    plain = []
    for index in range(12):
        random = np.random.default_rng([12, index])
        subject = plain_subject(ORGANS, random)
        plain.append(scan_subject(ORGANS, subject, Scanner(), random, spacing_mm=6.0))
    clinical = [scan for _, scan in scans[:12]]
    easy, _ = by_nearest_hu(plain[:6], plain[6:])
    hard, small = by_nearest_hu(clinical[:6], clinical[6:])
    assert hard < 0.75 * easy
    assert small < 15


def test_a_subject_is_decided_by_its_generator():
    (_, first), (_, again) = clinical_scan(3, 8.0), clinical_scan(3, 8.0)
    np.testing.assert_array_equal(first.voxels, again.voxels)
    np.testing.assert_array_equal(first.labels, again.labels)


def test_an_organ_without_a_shape_is_named():
    with pytest.raises(LookupError, match="no shape for 'tail'; there is liver"):
        clinical_subject(("liver", "tail"), np.random.default_rng(0))
