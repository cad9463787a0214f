"""Body and spine on made-up scans whose parts are known."""

import numpy as np
import pytest

from knowledge.questions.surroundings import find_surroundings


def scan() -> tuple[np.ndarray, np.ndarray]:
    """A body with a spine at its back, ribs at its sides and a bright vessel before the spine."""
    hu = np.full((60, 50, 20), -1000.0)
    hu[5:55, 5:45] = 40
    hu[26:34, 8:16] = 300  # spine
    hu[6:8, 10:40] = 400  # ribs
    labels = np.zeros(hu.shape, np.int16)
    hu[27:31, 18:22] = 350
    labels[27:31, 18:22] = 1
    hu[0:60, 0:2] = 60  # the table
    return hu, labels


@pytest.mark.parametrize("mirrored", [False, True])
def test_body_and_spine_are_those_of_the_scan(mirrored: bool) -> None:
    hu, labels = scan()
    affine = np.diag([4.0, 4, 4, 1])
    if mirrored:
        hu, labels = hu[:, ::-1], labels[:, ::-1]
        affine[1] = [0, -4, 0, 4 * 49]
    masks = find_surroundings(hu, labels, affine)
    spine = np.zeros(hu.shape, bool)
    spine[26:34, 8:16] = True
    spine = spine[:, ::-1] if mirrored else spine
    overlap = 2 * (masks["spine"] & spine).sum() / (masks["spine"].sum() + spine.sum())
    assert overlap > 0.9
    assert masks["body"].sum() == pytest.approx(50 * 40 * 20, rel=0.03)


def test_a_scan_of_another_grid_is_refused_and_one_of_air_shows_nothing() -> None:
    hu, labels = scan()
    with pytest.raises(ValueError, match="expected a scan of shape"):
        find_surroundings(hu[:-1], labels, np.eye(4))
    assert find_surroundings(np.full(hu.shape, -1000.0), labels, np.eye(4)) == {}
