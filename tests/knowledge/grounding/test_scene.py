"""Relations on shapes whose answer is known, in any orientation of the voxel grid."""

import itertools

import numpy as np
import pytest

from knowledge.descriptions import RELATIONS, Claim
from knowledge.grounding.directions import landscape
from knowledge.grounding.scene import DIRECTIONS, Scene

VALUES = {"a": 1, "b": 2, "c": 3}
GRID = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), axis=-1)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def ball(center: tuple[int, int, int], radius: float) -> np.ndarray:
    return np.linalg.norm(GRID - np.array(center), axis=-1) <= radius


def scene(a: np.ndarray, b: np.ndarray, affine: np.ndarray = AFFINE) -> Scene:
    labels = np.zeros(a.shape, np.uint8)
    labels[b] = 2
    labels[a] = 1
    return Scene(labels, affine, VALUES)


def verdict(where: Scene, relation: str, one: str = "a", other: str = "b") -> str:
    return where.test(
        Claim.model_validate({"organ": one, "relation": relation, "other": other})
    ).verdict


OPPOSITE = {
    "left_of": "right_of",
    "anterior_to": "posterior_to",
    "superior_to": "inferior_to",
}
OPPOSITE |= {value: key for key, value in OPPOSITE.items()}


@pytest.mark.parametrize("relation", DIRECTIONS)
def test_a_ball_lies_where_it_was_put(relation: str) -> None:
    step = np.array(DIRECTIONS[relation], int) * 12
    where = scene(ball(tuple(20 + step), 5), ball((20, 20, 20), 5))
    finding = where.test(Claim.model_validate({"organ": "a", "relation": relation, "other": "b"}))
    assert finding.verdict == "supported"
    assert finding.measured == pytest.approx(24.0)
    assert verdict(where, OPPOSITE[relation]) == "contradicted"
    assert verdict(where, OPPOSITE[relation], "b", "a") == "supported"
    for sideways in set(DIRECTIONS) - {relation, OPPOSITE[relation]}:
        assert verdict(where, sideways) == "untestable"


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_the_orientation_of_the_grid_does_not_matter(
    axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    a, b = ball((30, 20, 20), 4), ball((10, 20, 14), 6)
    flipped = [
        np.transpose(x, axes)[tuple(slice(None, None, sign) for sign in signs)] for x in (a, b)
    ]
    affine = np.eye(4)
    for new, (old, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[:3, new] = 0
        affine[old, new] = 2 * sign
        affine[old, 3] = 0 if sign > 0 else 2 * 39
    where = scene(*flipped, affine)
    assert verdict(where, "right_of") == "supported"
    assert verdict(where, "superior_to") == "supported"
    assert verdict(where, "left_of") == "contradicted"
    assert where.test(Claim(organ="a", relation="right_of", other="b")).measured == pytest.approx(
        40
    )


def test_the_landscape_of_a_point_is_the_angle() -> None:
    point = np.zeros((1, 3))
    for degrees, expected in ((0, 1.0), (45, 0.5), (90, 0.0), (135, 0.0)):
        angle = np.radians(degrees)
        other = np.array([[np.cos(angle), np.sin(angle), 0.0]])
        assert landscape(other, point, np.array([1.0, 0, 0])) == pytest.approx(expected, abs=1e-6)


def test_a_long_bar_beside_a_ball_is_beside_it_although_its_ends_are_not() -> None:
    bar = np.zeros((40, 40, 40), bool)
    bar[28:31, 18:23, :] = True
    where = scene(bar, ball((15, 20, 20), 4))
    assert verdict(where, "right_of") == "supported"
    assert verdict(where, "superior_to") == "untestable"


def test_touching_near_and_far_balls() -> None:
    for distance, expected in ((10, "supported"), (14, "untestable"), (22, "contradicted")):
        where = scene(ball((10, 20, 20), 5), ball((10 + distance, 20, 20), 4))
        assert verdict(where, "adjacent_to") == expected
    finding = where.test(Claim(organ="a", relation="adjacent_to", other="b"))
    assert finding.measured == pytest.approx(22 * 2 - 2 * 9 - 2)


def box_gap(one: np.ndarray, other: np.ndarray, spacing: np.ndarray) -> float:
    """The smallest distance of the boxes of two masks' voxels in mm, pair by pair."""
    steps = np.abs(np.argwhere(one)[:, None] - np.argwhere(other)[None])
    return float(np.linalg.norm(np.maximum(steps - 1, 0) * spacing, axis=2).min())


@pytest.mark.parametrize("spacing", [(1, 1, 1), (1, 1, 5), (0.7, 3, 2)])
@pytest.mark.parametrize("seed", range(4))
def test_the_gap_is_that_of_the_nearest_boxes_also_where_slices_are_thick(
    spacing: tuple[float, float, float], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    a, b = np.zeros((2, 24, 20, 10), bool)
    a[tuple(generator.integers(0, [8, 20, 10], (30, 3)).T)] = True
    b[tuple(generator.integers([12, 0, 0], [24, 20, 10], (30, 3)).T)] = True
    turn = np.linalg.qr(generator.standard_normal((3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(spacing)
    finding = scene(a, b, affine).test(Claim(organ="a", relation="adjacent_to", other="b"))
    assert finding.measured == pytest.approx(box_gap(a, b, np.array(spacing)))


def test_organs_that_touch_by_a_corner_have_no_gap_and_thick_slices_bring_none_nearer() -> None:
    a, b = np.zeros((2, 30, 12, 6), bool)
    a[2:8, 2:6, 1:3] = True
    b[8:12, 6:9, 3:5] = True
    thick = np.diag([1.0, 1.0, 5.0, 1.0])
    touching = Claim(organ="a", relation="adjacent_to", other="b")
    assert scene(a, b, thick).test(touching).measured == 0.0
    b = np.zeros_like(a)
    b[22:26, 2:6, 1:3] = True
    finding = scene(a, b, thick).test(touching)
    assert (finding.measured, finding.verdict) == (14.0, "contradicted")


def test_a_ring_surrounds_what_it_encloses_and_a_quarter_of_it_does_not() -> None:
    radius = np.linalg.norm(GRID[..., :2] - 20, axis=-1)
    slab = np.abs(GRID[..., 2] - 20) <= 2
    ring = (np.abs(radius - 12) <= 2) & slab
    core = ball((20, 20, 20), 4)
    assert verdict(scene(ring, core), "surrounds") == "supported"
    assert verdict(scene(ring, core), "surrounds", "b", "a") == "contradicted"
    c_shape = ring & ~((GRID[..., 0] > 20) & (np.abs(GRID[..., 1] - 20) < 6))
    assert verdict(scene(c_shape, core), "surrounds") == "supported"
    quarter = ring & (GRID[..., 0] > 20) & (GRID[..., 1] > 20)
    assert verdict(scene(quarter, core), "surrounds") == "contradicted"


def test_a_ball_in_a_shell_is_inside_and_one_beside_it_is_not() -> None:
    shell = ball((20, 20, 20), 14) & ~ball((20, 20, 20), 10)
    assert verdict(scene(ball((20, 20, 20), 5), shell), "inside") == "supported"
    assert verdict(scene(ball((36, 20, 20), 2), ball((12, 20, 20), 8)), "inside") == "contradicted"
    flat = np.zeros((40, 40, 40), bool)
    flat[5:30, 5:30, 7] = True
    assert verdict(scene(ball((20, 20, 20), 3), flat), "inside") == "contradicted"


def test_a_bar_crosses_a_pole_and_a_parallel_one_does_not() -> None:
    pole = np.zeros((40, 40, 40), bool)
    pole[18:22, 18:22, :] = True
    bar = np.zeros_like(pole)
    bar[4:36, 24:27, 18:22] = True
    assert verdict(scene(bar, pole), "crosses") == "supported"
    stub = np.zeros_like(pole)
    stub[24:36, 24:27, 18:22] = True
    assert verdict(scene(stub, pole), "crosses") == "contradicted"
    short = np.zeros_like(pole)
    short[18:22, 24:27, 5:30] = True
    assert verdict(scene(short, pole), "crosses") == "contradicted"


@pytest.mark.parametrize("relation", RELATIONS)
def test_an_organ_that_the_scan_does_not_show_is_untestable(relation: str) -> None:
    where = scene(ball((10, 20, 20), 3), ball((20, 20, 20), 3))
    assert where.organs == ("a", "b")
    assert verdict(where, relation, "a", "c") == "untestable"
    assert verdict(where, relation, "nowhere", "b") == "untestable"


@pytest.mark.parametrize("relation", RELATIONS)
def test_single_voxels_break_no_relation(relation: str) -> None:
    where = scene(ball((10, 20, 20), 0), ball((20, 20, 20), 0))
    assert verdict(where, relation) in ("supported", "contradicted", "untestable")


def test_a_slice_is_not_a_scene() -> None:
    with pytest.raises(
        ValueError, match=r"expected labels \[x, y, z\] and an affine \[4, 4\], got"
    ):
        Scene(np.zeros((4, 4), int), np.eye(4), VALUES)
