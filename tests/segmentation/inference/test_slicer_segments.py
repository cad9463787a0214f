"""Segments of 3D Slicer in the header of an NRRD mask, read as text and by SimpleITK."""

import numpy as np
import SimpleITK

from segmentation.data.descriptor import DatasetSpec, Organ
from segmentation.imaging.colors import colors
from segmentation.imaging.volume import read_labels, write_labels
from segmentation.inference.slicer_segments import segment_fields
from tests.support.paths import DATA

SPEC = DatasetSpec.read(DATA / "phantom.toml")
ORGANS = [SPEC.organ(name) for name in ("right kidney", "liver")]
SHADES = [colors(SPEC.classes)[organ.label] for organ in ORGANS]


def header_of(path):
    """The lines `key:=value` of an NRRD file."""
    head = path.read_bytes().partition(b"\n\n")[0].decode("utf-8")
    return dict(line.split(":=", 1) for line in head.splitlines() if ":=" in line)


def test_an_nrrd_mask_has_a_segment_per_organ_and_the_same_voxels(tmp_path):
    labels = np.zeros((7, 5, 4), np.uint8)
    labels[1:3, 2:4, 1:3], labels[4:6, 1:3, :2] = ORGANS[0].label, ORGANS[1].label
    affine = np.diag([1.5, 2.0, 3.0, 1.0])
    path = tmp_path / "mask.seg.nrrd"
    write_labels(path, labels, affine, fields=segment_fields(ORGANS, SHADES, labels.shape))
    header = header_of(path)
    for number, (organ, shade) in enumerate(zip(ORGANS, SHADES, strict=True)):
        assert header[f"Segment{number}_Name"] == organ.name
        assert header[f"Segment{number}_LabelValue"] == str(organ.label)
        assert header[f"Segment{number}_Layer"] == "0"
        assert header[f"Segment{number}_Extent"] == "0 6 0 4 0 3"
        parts = [float(part) for part in header[f"Segment{number}_Color"].split()]
        np.testing.assert_allclose(np.multiply(parts, 255), shade, atol=0.01)
    assert len({header[f"Segment{number}_ID"] for number in range(2)}) == 2
    assert "Segment2_ID" not in header
    assert header["Segmentation_ContainedRepresentationNames"] == "Binary labelmap|"
    volume = read_labels(path)
    np.testing.assert_array_equal(volume.voxels, labels)
    np.testing.assert_allclose(volume.affine, affine)
    image = SimpleITK.ReadImage(str(path))
    assert image.GetMetaData("Segment0_Name") == "right kidney"


def test_tags_carry_the_code_of_the_structure_and_its_side():
    fields = segment_fields(ORGANS, SHADES, (2, 2, 2))
    tags = dict(tag.split(":", 1) for tag in fields["Segment0_Tags"].strip("|").split("|"))
    _, category, kind, side, _, region, modifier = tags["TerminologyEntry"].split("~")
    assert category.split("^")[:2] == ["SCT", "123037004"]
    assert kind.split("^") == ["SCT", SPEC.organ("right kidney").snomed, "Kidney"]
    assert side.split("^") == ["SCT", "24028007", "Right"]
    assert region == modifier == "^^"


def test_an_organ_without_a_code_is_an_organ_and_odd_names_do_not_part_tags():
    plain = Organ(name="gland ~ a|b^c", label=1, size="small")
    coded = plain.model_copy(update={"snomed": "1234567"})
    for organ, code in ((plain, "113343008"), (coded, "1234567")):
        fields = segment_fields([organ], [(1, 2, 3)], (1, 1, 1))
        assert fields["Segment0_Name"] == organ.name
        assert fields["Segment0_Tags"].count("|") == 2
        terms = fields["Segment0_Tags"].split("~")
        assert len(terms) == 7
        assert terms[2].split("^")[:2] == ["SCT", code]
        assert len(terms[2].split("^")) == 3


def test_other_formats_are_written_without_fields(tmp_path):
    labels = np.ones((2, 2, 2), np.uint8)
    for suffix in (".nii.gz", ".mha"):
        path = tmp_path / f"mask{suffix}"
        write_labels(path, labels, np.eye(4), fields=segment_fields([], [], (2, 2, 2)))
        np.testing.assert_array_equal(read_labels(path).voxels, labels)
