"""Colors of classes: distinct, and in the formats of viewers."""

from itertools import pairwise

import numpy as np

from segmentation.imaging.colors import (
    HIGHLIGHT,
    colors,
    oklab,
    write_itksnap_labels,
    write_slicer_colors,
)

CLASSES = ("background", "liver", "right kidney", 'the "odd" one')


def test_a_hundred_classes_have_distinct_colors_and_neighbors_differ_clearly():
    palette = colors([str(number) for number in range(100)])
    assert palette[0] == (0, 0, 0)
    assert len(set(palette)) == 100
    for one, other in pairwise(palette):
        assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 60


def test_thirteen_organs_differ_clearly_from_each_other_from_gray_and_from_the_highlight():
    palette = colors(["background", *map(str, range(13))])[1:]
    places = oklab(np.array([*palette, HIGHLIGHT]))
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert apart[~np.eye(14, dtype=bool)].min() > 0.12
    assert np.hypot(places[:, 1], places[:, 2]).min() > 0.08
    assert colors(["background", *map(str, range(40))])[1:14] == palette


def test_oklab_has_published_values():
    np.testing.assert_allclose(oklab(np.array([255, 255, 255])), [1, 0, 0], atol=1e-3)
    np.testing.assert_allclose(oklab(np.array([255, 0, 0])), [0.628, 0.225, 0.126], atol=1e-3)
    np.testing.assert_allclose(oklab(np.array([0, 0, 255])), [0.452, -0.032, -0.312], atol=1e-3)


def test_slicer_reads_value_name_and_four_numbers_per_line(tmp_path):
    write_slicer_colors(tmp_path / "a.ctbl", CLASSES)
    lines = [line for line in (tmp_path / "a.ctbl").read_text().splitlines() if line[0] != "#"]
    assert [len(line.split()) for line in lines] == [6] * 4
    assert lines[0] == "0 background 0 0 0 0"
    assert lines[2].split()[:2] == ["2", "right_kidney"]
    assert lines[2].split()[5] == "255"


def test_itk_snap_reads_seven_numbers_and_a_quoted_name(tmp_path):
    write_itksnap_labels(tmp_path / "a.label", CLASSES)
    lines = [line for line in (tmp_path / "a.label").read_text().splitlines() if line[0] != "#"]
    numbers = [[int(word) for word in line.partition('"')[0].split()] for line in lines]
    assert [len(row) for row in numbers] == [7] * 4
    assert [row[0] for row in numbers] == [0, 1, 2, 3]
    assert lines[0].endswith('"Clear Label"')
    assert lines[3].endswith("\"the 'odd' one\"")
