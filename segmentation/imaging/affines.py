"""Affines: axis codes, and axes that are not orthogonal (rounding, tilted gantry).

ITK, and with it 3D Slicer and ITK-SNAP, opens no NIfTI file whose only affine is sheared.
"""

from collections.abc import Sequence
from itertools import permutations, product

import numpy as np
from nibabel import orientations

Array = np.ndarray

_SAME_PLACE = 0.25  # tolerance as a share of the smallest voxel side
_ROUNDING_DEGREES = 0.5  # more than rounding in a header can turn an axis


def straightened(affine: Array) -> Array:
    """The nearest affine [4, 4] with the same voxel sizes and orthogonal axes.

    Polar decomposition of the directions; the position of the first voxel is unchanged.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    straight = affine.copy()
    straight[:3, :3] = left @ right * spacing
    return straight


def is_straight(affine: Array, shape: Sequence[int]) -> bool:
    """Whether the axes are orthogonal up to rounding.

    `straightened` then moves no corner of the grid by more than a quarter of a voxel.

    Args:
        shape: of the grid; the first three sides are used.
    """
    if tilt_degrees(affine) > _ROUNDING_DEGREES:
        return False
    corners = np.array(np.meshgrid(*([0, side - 1] for side in shape[:3]))).reshape(3, -1)
    moved = (straightened(affine) - affine)[:3, :3] @ corners
    smallest = np.linalg.norm(affine[:3, :3], axis=0).min()
    return bool(np.linalg.norm(moved, axis=0).max() <= _SAME_PLACE * smallest)


def tilt_degrees(affine: Array) -> float:
    """The largest deviation of two axes from a right angle, in degrees."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs(directions.T @ directions - np.eye(3)).max()
    return float(np.degrees(np.arcsin(min(cosines, 1.0))))


def turn_degrees(one: Array, other: Array) -> float:
    """The largest angle between the same axis of two affines."""
    first, second = (
        affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0) for affine in (one, other)
    )
    cosines = np.clip((first * second).sum(axis=0), -1, 1)
    return float(np.degrees(np.arccos(cosines)).max())


AXES = {"R": "x", "L": "x", "A": "y", "P": "y", "S": "z", "I": "z"}


EVERY: tuple[str, ...] = tuple(
    "".join(pair[way] for pair, way in zip(order, ways, strict=True))
    for order in permutations(("RL", "AP", "SI"))
    for ways in product((0, 1), repeat=3)
)


def checked_orientation(text: str) -> str:
    """The axis codes in capitals.

    Raises:
        ValueError: not one of the 48, such as RAS or LPS.
    """
    codes = text.upper()
    if codes not in EVERY:
        raise ValueError(
            f"orientation {text!r}: three letters are needed, one of R L, of A P and of S I, in "
            "the order of the array's axes, such as RAS"
        )
    return codes


def axes_of(codes: str) -> str:
    """The patient's axes in the order of the array's: `zyx` for `SPL`."""
    return "".join(AXES[code] for code in codes)


def affine_of(codes: str, shape: Sequence[int], spacing_mm: Sequence[float]) -> Array:
    """An affine to RAS+ mm for an array without one; its first voxel in RAS+ order is at 0.

    Args:
        codes: of the array's axes.
        shape: of the array.
        spacing_mm: along the array's axes.
    """
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, (place, way) in enumerate(orientations.axcodes2ornt(codes)):
        affine[int(place), axis] = way * spacing_mm[axis]
        affine[int(place), 3] = 0 if way > 0 else spacing_mm[axis] * (shape[axis] - 1)
    return affine
