"""Still pictures of surfaces: who is in front, who is on which side."""

import numpy as np
import pytest

from pipeline.report.surfaces.meshes import organ_mesh
from pipeline.report.surfaces.still import still, view_axes

SHADES = [(0, 0, 0), (200, 0, 0), (0, 200, 0)]


def box(low, high):
    mask = np.zeros((40, 40, 40), bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return organ_mesh(mask, np.eye(4))


def drawn(meshes, size=120):
    frame = [mesh.points for mesh in meshes.values()]
    return still(meshes, SHADES, frame=frame, size=size).astype(int)


def test_axes_of_the_view_are_a_right_handed_system_seen_from_the_front():
    for turn, rise in ((0, 0), (25, 12), (200, -40)):
        axes = view_axes(turn, rise)
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(axes) == pytest.approx(1)
    right, top, toward = view_axes(0, 0)  # of RAS+: the patient's right is on the left
    np.testing.assert_allclose([right, top, toward], [[-1, 0, 0], [0, 0, 1], [0, 1, 0]], atol=1e-12)
    np.testing.assert_allclose(view_axes(90, 0)[2], [-1, 0, 0], atol=1e-12)  # from the left


def test_the_patients_right_is_on_the_left_and_the_ground_is_clear():
    picture = drawn({1: box((30, 10, 10), (38, 20, 20)), 2: box((4, 10, 10), (12, 20, 20))})
    columns = np.indices(picture.shape[:2])[1]
    red, green = (picture[..., 0] > picture[..., 1]), (picture[..., 1] > picture[..., 0])
    assert columns[red].mean() < 60 < columns[green].mean()
    assert set(np.unique(picture[0])) == {0}
    assert picture[..., 3].max() == 255


def test_an_organ_in_front_hides_one_behind_and_has_no_holes():
    front, behind = box((5, 30, 5), (35, 38, 35)), box((15, 5, 15), (25, 15, 25))
    for meshes in ({1: front, 2: behind}, {2: behind, 1: front}):
        picture = drawn(meshes, size=200)
        center = picture[90:110, 90:110]
        assert (center[..., 3] == 255).all()
        assert (center[..., 0] > 0).all()
        assert (center[..., 1] == 0).all()


def test_nothing_is_an_empty_picture():
    assert not still({}, SHADES, frame=[np.zeros((1, 3))], size=20).any()
