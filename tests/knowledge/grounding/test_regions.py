"""Organs on a grid along the patient's axes, from any orientation of the volume."""

import itertools

import numpy as np
import pytest

from knowledge.grounding.regions import regions_of


def volume() -> np.ndarray:
    labels = np.zeros((12, 14, 16), np.uint8)
    labels[2:6, 3:9, 4:12] = 1
    labels[8, 10, 3] = 2
    return labels


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_every_axis_order_gives_the_same_cells(axes: tuple[int, ...]) -> None:
    labels = volume()
    straight, cell_mm = regions_of(labels, np.diag([3.0, 3, 3, 1]), {"a": 1, "b": 2})
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for new, old in enumerate(axes):
        affine[old, new] = 3
    turned, _ = regions_of(np.transpose(labels, axes), affine, {"a": 1, "b": 2, "none": 7})
    assert cell_mm == pytest.approx(3)
    assert list(turned) == ["a", "b"]
    for name in turned:
        np.testing.assert_array_equal(turned[name].cells, straight[name].cells)


def test_cells_cover_the_volume_of_the_organ_also_in_a_rotated_grid() -> None:
    labels = volume()
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array([3.0, 3.0, 5.0])
    regions, cell_mm = regions_of(labels, affine, {"a": 1})
    expected = (labels == 1).sum() * 45.0
    assert regions["a"].mask.sum() * cell_mm**3 == pytest.approx(expected, rel=0.15)


def test_an_organ_smaller_than_a_cell_keeps_one() -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[::19, ::19, ::19] = 1
    labels[7, 8, 9] = 2
    regions, cell_mm = regions_of(labels, np.diag([0.5, 0.5, 0.5, 1]), {"a": 1, "b": 2})
    assert cell_mm == 2.0
    assert regions["b"].mask.sum() == 1


def test_shadows_are_those_of_a_plain_projection() -> None:
    labels = volume()
    regions, _ = regions_of(labels, np.diag([3.0, 3, 3, 1]), {"a": 1, "b": 2})
    whole = np.zeros(regions["a"].shape, bool)
    whole[tuple(regions["a"].cells.astype(int).T)] = True
    for axis, shadow in enumerate(regions["a"].shadows):
        np.testing.assert_array_equal(shadow.covered, whole.any(axis))
        for place in np.argwhere(shadow.covered):
            line = np.flatnonzero(np.moveaxis(whole, axis, -1)[tuple(place)])
            at = tuple(place)
            assert (shadow.low[at], shadow.high[at]) == (line.min(), line.max())
            assert shadow.mean[at] == pytest.approx(line.mean())
