import shutil
from dataclasses import replace

import pytest

from segmentation.data.checks import check_images, image_digest
from segmentation.data.preparation import prepare, read_case


def test_prepare_notes_the_digest_of_every_image(prepared):
    for case, record in prepared.cases.items():
        assert record["image_sha256"] == image_digest(read_case(prepared.file(case)).image)
    check_images(prepared)


def test_a_digest_changes_with_one_voxel_and_with_the_shape(prepared):
    image = read_case(prepared.file(prepared.split.test[0])).image
    changed = image.copy()
    changed[3, 3, 3] += 1e-3
    assert len({image_digest(image), image_digest(changed), image_digest(image.ravel())}) == 3


def test_one_scan_under_two_names_in_two_parts_is_refused(population, tmp_path):
    from segmentation.data.descriptor import DatasetSpec

    raw = tmp_path / "raw"
    shutil.copytree(population, raw)
    spec = DatasetSpec.read(raw / "dataset.toml").with_spacing((20.0, 20.0, 20.0))
    split = spec.split(None, raw)
    seen, kept = split.unlabeled[0], split.test[0]
    scan = next(raw.glob(f"images*/{seen}_0000.nii.gz"))
    again = next(raw.glob(f"images*/{kept}_0000.nii.gz"))
    shutil.copy(scan, again)
    (split_mask,) = raw.glob(f"labels*/{kept}.nii.gz")
    _empty_mask_like(scan, split_mask)
    found = prepare(spec, raw, tmp_path / "prepared", split)
    message = rf"{seen} \(unlabeled\) and {kept} \(test\)"
    with pytest.raises(ValueError, match=message):
        check_images(found)
    cases = {
        case: {key: value for key, value in record.items() if key != "image_sha256"}
        for case, record in found.cases.items()
    }
    with pytest.raises(ValueError, match=message):  # prepared before digests were noted
        check_images(replace(found, cases=cases))


def test_the_same_image_twice_in_one_part_is_no_leak(prepared, tmp_path):
    first, second = prepared.split.unlabeled
    record = prepared.cases[first]["image_sha256"]
    cases = {**prepared.cases, second: {**prepared.cases[second], "image_sha256": record}}
    check_images(replace(prepared, cases=cases))


def _empty_mask_like(scan, mask):
    import nibabel
    import numpy as np

    image = nibabel.load(scan)
    nibabel.save(nibabel.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), mask)
