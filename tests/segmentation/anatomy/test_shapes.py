import numpy as np
import pytest

from segmentation.anatomy.shapes import (
    Above,
    Carved,
    Common,
    Ellipsoid,
    Placed,
    Tube,
    Union,
    volume_ml,
)

POINTS = np.random.default_rng(0).uniform(-30, 30, (3, 4000)).astype(np.float32)


def test_a_ball_has_its_exact_distance():
    found = Ellipsoid((3, -2, 5), (10, 10, 10), (20, 30, 40)).distance(POINTS)
    expected = np.linalg.norm(POINTS - np.array([[3], [-2], [5]]), axis=0) - 10
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_ellipsoid_is_negative_just_inside():
    radii = np.array([[20.0], [8.0], [12.0]])
    expected = np.linalg.norm(POINTS / radii, axis=0) < 1
    found = Ellipsoid((0, 0, 0), (20, 8, 12)).distance(POINTS) < 0
    np.testing.assert_array_equal(found, expected)


def test_a_turn_moves_the_long_axis():
    upright = Ellipsoid((0, 0, 0), (20, 5, 5), (0, 0, 90))
    ends = np.array([[0, 19, 0], [19, 0, 0]], np.float32).T
    assert np.sign(upright.distance(ends)).tolist() == [-1, 1]


def test_the_center_of_an_ellipsoid_is_as_deep_as_its_smallest_radius():
    center = np.zeros((3, 1), np.float32)
    assert Ellipsoid((0, 0, 0), (20, 8, 12)).distance(center) == pytest.approx(-8)


def test_a_straight_tube_is_a_capsule():
    found = Tube([(-10, 0, 0), (0, 0, 0), (10, 0, 0)], (4, 4, 4)).distance(POINTS)
    on_axis = np.clip(POINTS[0], -10, 10)
    expected = np.hypot(np.hypot(POINTS[0] - on_axis, POINTS[1]), POINTS[2]) - 4
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_tube_passes_through_its_knots_with_their_radii():
    knots = np.array([(0, 0, 0), (10, 5, 0), (12, 15, 8), (0, 20, 20)], np.float32)
    radii = (3.0, 5.0, 4.0, 2.0)
    depth = Tube(knots, radii).distance(knots.T)
    assert np.all(depth <= -np.array(radii) + 1e-3)


def test_bounds_hold_every_solid():
    ball, tube = Ellipsoid((9, 0, 0), (12, 6, 6), (0, 20, 50)), Tube([(0, 0, 0), (5, 9, 9)], (4, 2))
    for solid in (ball, tube, Union((ball, tube)), Carved(ball, tube)):
        low, high = solid.bounds()
        inside = POINTS[:, solid.distance(POINTS) < 0]
        assert inside.size
        assert np.all(inside > low[:, None])
        assert np.all(inside < high[:, None])


def test_a_union_holds_its_parts_and_a_cut_is_outside():
    one, other = Ellipsoid((-5, 0, 0), (9, 9, 9)), Ellipsoid((8, 0, 0), (7, 7, 7))
    joined = Union((one, other), blend_mm=4).distance(POINTS)
    assert np.all(joined <= np.minimum(one.distance(POINTS), other.distance(POINTS)) + 1e-4)
    carved = Carved(one, other).distance(POINTS) < 0
    expected = (one.distance(POINTS) < 0) & (other.distance(POINTS) > 0)
    np.testing.assert_array_equal(carved, expected)


def test_the_volume_of_a_ball_is_that_of_geometry():
    ball = Ellipsoid((3.0, -4.0, 5.0), (20.0, 20.0, 20.0))
    assert volume_ml(ball, 1.0) == pytest.approx(4 / 3 * np.pi * 20**3 / 1000, rel=0.01)


def test_a_placed_solid_is_scaled_about_its_point_and_shifted():
    ball = Ellipsoid((10.0, 0.0, 0.0), (5.0, 5.0, 5.0))
    placed = Placed(ball, (10.0, 0.0, 0.0), 2.0, (0.0, 7.0, 0.0))
    same = Ellipsoid((10.0, 7.0, 0.0), (10.0, 10.0, 10.0))
    points = np.random.default_rng(0).uniform(-20, 30, (3, 200)).astype(np.float32)
    np.testing.assert_allclose(placed.distance(points), same.distance(points), atol=1e-4)
    np.testing.assert_allclose(placed.bounds(), same.bounds())
    assert volume_ml(placed, 0.5) == pytest.approx(8 * volume_ml(ball, 0.25), rel=0.02)


def test_intersections_and_levels_cut_solids():
    one, other = Ellipsoid((0, 0, 0), (10, 10, 10)), Ellipsoid((8, 0, 0), (10, 10, 10))
    points = np.random.default_rng(1).uniform(-12, 20, (3, 500)).astype(np.float32)
    both = (one.distance(points) < 0) & (other.distance(points) < 0)
    np.testing.assert_array_equal(Common((one, other)).distance(points) < 0, both)
    low, high = Common((one, other)).bounds()
    assert (low[0], high[0]) == (-2, 10)
    above = Above(one, 1, 4.0).distance(points) < 0
    np.testing.assert_array_equal(above, (one.distance(points) < 0) & (points[1] > 4))
