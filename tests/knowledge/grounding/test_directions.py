"""Sides of organs: symmetric, and true of large curved organs whose centroids mislead."""

import numpy as np
import pytest

from knowledge.descriptions import Claim
from knowledge.grounding.directions import directional_share, landscape, side_share
from knowledge.grounding.regions import regions_of
from knowledge.grounding.scene import DIRECTIONS, Scene

OPPOSITE = {"left_of": "right_of", "anterior_to": "posterior_to", "superior_to": "inferior_to"}
OPPOSITE |= {value: key for key, value in OPPOSITE.items()}
VALUES = {"a": 1, "b": 2}


def hook() -> np.ndarray:
    """A flat plate before a bar, with a heavy tail that hangs far behind the bar."""
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[5:35, 30:33, 15:25] = 1
    labels[5:9, 2:30, 2:30] = 1
    labels[12:34, 22:26, 17:23] = 2
    return labels


def test_shared_columns_decide_where_centroids_mislead() -> None:
    labels = hook()
    assert np.argwhere(labels == 1)[:, 1].mean() < np.argwhere(labels == 2)[:, 1].mean()
    scene = Scene(labels, np.diag([2.0, 2, 2, 1]), VALUES)
    claim = Claim(organ="a", relation="anterior_to", other="b")
    assert scene.test(claim).verdict == "supported"
    mirrored = Scene(labels[:, ::-1], np.diag([2.0, 2, 2, 1]), VALUES)
    assert mirrored.test(claim).verdict == "contradicted"


@pytest.mark.parametrize("seed", range(6))
def test_a_claim_its_inverse_and_its_opposite_agree(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.zeros((30, 30, 30), np.uint8)
    for value in (1, 2, 1, 2):
        start = random.integers(0, 20, 3)
        stop = start + random.integers(3, 12, 3)
        labels[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = value
    turned = np.diag([2.0, -3.0, 2.5, 1.0])
    scene = Scene(labels, turned, VALUES)
    against = {"supported": "contradicted", "contradicted": "supported"}
    for relation, opposite in OPPOSITE.items():
        found = scene.test(Claim.model_validate({"organ": "a", "relation": relation, "other": "b"}))
        inverse = Claim.model_validate({"organ": "b", "relation": opposite, "other": "a"})
        assert scene.test(inverse) == found
        reverse = Claim.model_validate({"organ": "a", "relation": opposite, "other": "b"})
        expected = against.get(found.verdict, found.verdict)
        assert scene.test(reverse).verdict == expected


def test_the_share_of_columns_is_that_of_a_loop_over_them() -> None:
    labels = hook()
    regions, _ = regions_of(labels, np.diag([2.0, 2, 2, 1]), VALUES)
    ahead = []
    for x in range(40):
        for z in range(40):
            ones = np.flatnonzero(labels[x, :, z] == 1)
            twos = np.flatnonzero(labels[x, :, z] == 2)
            if len(ones) and len(twos):
                ahead.append(ones.mean() - twos.mean())
    share, median = side_share(regions["a"], regions["b"], 1) or (None, None)
    assert share == pytest.approx(np.mean(np.array(ahead) > 0))
    assert median == pytest.approx(np.median(ahead))


def test_organs_without_shared_columns_are_compared_by_landscapes() -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:4, 2:4, 12:16] = 1
    labels[14:16, 14:16, 2:6] = 2
    regions, _ = regions_of(labels, np.diag([2.0, 2, 2, 1]), VALUES)
    assert side_share(regions["a"], regions["b"], 2) is None
    one, other = regions["a"].cells, regions["b"].cells
    up = np.array(DIRECTIONS["superior_to"], float)
    assert directional_share(one, other, up) > 0.9
    assert directional_share(one, other, up) == pytest.approx(
        1 - directional_share(one, other, -up)
    )


def test_the_landscape_of_a_point_is_the_angle() -> None:
    point = np.zeros((1, 3))
    for degrees, expected in ((0, 1.0), (45, 0.5), (90, 0.0), (135, 0.0)):
        angle = np.radians(degrees)
        other = np.array([[np.cos(angle), np.sin(angle), 0.0]])
        assert landscape(other, point, np.array([1.0, 0, 0])) == pytest.approx(expected, abs=1e-6)
