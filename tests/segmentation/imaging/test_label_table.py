"""Label names in the header of NIfTI masks."""

import nibabel
import numpy as np
import pytest

from segmentation.imaging.label_table import label_table

ROWS = (
    '<Label Key="1" Red="0" Green="0" Blue="1" Alpha="1"><![CDATA[kidney_left]]></Label>\n'
    '<Label Key="52" Red="0" Green="0" Blue="1" Alpha="1">heart &amp; vessels</Label>'
)


def write(path, rows):
    image = nibabel.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.eye(4))
    if rows:
        xml = f"<CaretExtension><LabelTable>{rows}</LabelTable></CaretExtension>"
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, xml.encode()))
    nibabel.save(image, path)
    return path


def test_names_are_read(tmp_path):
    path = write(tmp_path / "a.nii.gz", ROWS)
    assert label_table(path) == {"kidney_left": 1, "heart & vessels": 52}


def test_a_mask_without_names_gives_none(tmp_path):
    assert label_table(write(tmp_path / "a.nii.gz", "")) == {}
    assert label_table(tmp_path / "a.nrrd") == {}


def test_two_labels_of_one_name_and_damage_are_refused(tmp_path):
    twice = ROWS.replace("heart &amp; vessels", "kidney_left")
    with pytest.raises(ValueError, match="names two labels 'kidney_left'"):
        label_table(write(tmp_path / "a.nii.gz", twice))
    (tmp_path / "b.nii.gz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"b\.nii\.gz: damaged or no NIfTI file"):
        label_table(tmp_path / "b.nii.gz")
