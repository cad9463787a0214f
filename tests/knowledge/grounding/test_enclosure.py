"""Shares of rays that meet an enclosing organ."""

import numpy as np
import pytest

from knowledge.grounding.enclosure import enclosed_share, surrounded_share
from knowledge.grounding.regions import Region

GRID = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), axis=-1)
RADIUS = np.linalg.norm(GRID - 20, axis=-1)


def region(mask: np.ndarray) -> Region:
    return Region(mask, np.zeros(3, int), mask.shape)


def test_a_shell_is_met_by_every_ray_and_half_a_shell_by_half_of_them() -> None:
    point, shell = region(RADIUS < 1), (RADIUS > 10) & (RADIUS < 14)
    assert enclosed_share(point, region(shell)) == 1.0
    half = shell & (GRID[..., 2] > 20)
    assert enclosed_share(point, region(half)) == pytest.approx(0.5, abs=0.06)


def test_half_a_ring_fills_half_of_the_circle() -> None:
    ring = (np.abs(np.linalg.norm(GRID[..., :2] - 20, axis=-1) - 12) <= 2) & (GRID[..., 2] == 20)
    point = region(RADIUS < 1)
    assert surrounded_share(point, region(ring), 4.0) == pytest.approx(1.0)
    half = ring & (GRID[..., 0] > 20)
    assert surrounded_share(point, region(half), 4.0) == pytest.approx(0.5, abs=0.06)
