"""Headers of NRRD and MetaImage: what they leave out is an issue, what is damaged one line."""

import sys

import numpy as np
import pytest
import SimpleITK

from segmentation.imaging.itk import read_itk
from segmentation.imaging.volume import read_volume

DATA = np.arange(60, dtype="<i2").tobytes()
NRRD = "NRRD0005\ntype: short\ndimension: 3\nsizes: 5 4 3\nendian: little\nencoding: raw\n{}\n"
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    "CompressedData = False\n{}DimSize = 5 4 3\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
)
SPACE = "space: left-posterior-superior\nspace directions: (2,0,0) (0,2,0) (0,0,5)\n"
MATRIX = "TransformMatrix = 1 0 0 0 1 0 0 0 1\n"


def kinds(path, text, data=DATA):
    path.write_bytes(text.encode() + data)
    return [issue.kind for issue in read_volume(path).issues]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", ["spacing", "orientation"]),
        ("spacings: 2 2 5\n", ["orientation"]),
        ("space dimension: 3\nspace directions: (2,0,0) (0,2,0) (0,0,5)\n", ["orientation"]),
        ("space: scanner-xyz\nspace directions: (2,0,0) (0,2,0) (0,0,5)\n", ["orientation"]),
        (SPACE.replace("5)", "5000)"), ["spacing"]),
        (SPACE, []),
    ],
)
def test_what_an_nrrd_header_leaves_out_is_an_issue(tmp_path, fields, expected):
    assert kinds(tmp_path / "a.nrrd", NRRD.format(fields)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", ["spacing", "orientation"]),
        ("ElementSpacing = 2 2 5\n", ["orientation"]),
        (MATRIX, ["spacing"]),
        ("ElementSpacing = 2 2 5\n" + MATRIX, []),
    ],
)
def test_what_a_metaimage_header_leaves_out_is_an_issue(tmp_path, fields, expected):
    assert kinds(tmp_path / "a.mha", META.format(fields)) == expected


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("NDims = 3", "NDims = 99999", "NDims 99999; expected 1 to 6"),
        ("NDims = 3", "NDims = 4", "DimSize 5 4 3; expected 4 positive"),
        ("DimSize = 5 4 3", "DimSize = 50000 40000 30000", "50000 x 40000 x 30000 voxels"),
        ("DimSize = 5 4 3", "DimSize = -5 4 3", "positive whole numbers"),
        ("MET_SHORT", "MET_NONSENSE\x1b[31m", "a header line without|type MET_NONSENSE"),
        ("ObjectType", "\xff\u202e", "a header line without"),
        (
            "ElementType",
            "ElementSpacing = nan 1 1\nElementType",
            "ElementSpacing nan",
        ),
    ],
)
def test_a_damaged_metaimage_header_is_one_line_and_never_reaches_itk(tmp_path, old, new, words):
    path = tmp_path / "a.mha"
    path.write_bytes(META.format("").replace(old, new).encode() + DATA)
    with pytest.raises(ValueError, match=words) as fault:
        read_volume(path)
    text = str(fault.value)
    assert text.isprintable()
    assert len(text.replace(str(path), "")) < 400


def test_a_cut_compressed_metaimage_is_one_error_with_metaios_reason(tmp_path, capfd):
    image = SimpleITK.GetImageFromArray(np.arange(8000, dtype=np.int16).reshape(20, 20, 20))
    SimpleITK.WriteImage(image, str(tmp_path / "whole.mha"), True)
    content = (tmp_path / "whole.mha").read_bytes()
    (tmp_path / "cut.mha").write_bytes(content[:-30])
    with pytest.raises(ValueError, match=r"cut\.mha: damaged .*data not read completely"):
        read_itk(tmp_path / "cut.mha")
    print("still heard", file=sys.stderr)
    assert capfd.readouterr().err == "still heard\n"
    assert read_itk(tmp_path / "whole.mha").GetSize() == (20, 20, 20)
