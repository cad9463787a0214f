"""Still pictures of meshes, drawn without a graphics card, for where WebGL is missing."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.report.surfaces.meshes import Mesh
from segmentation.imaging.colors import Color

# A viewer in front of the patient, a little to the patient's left and above; as in surfaces.js.
TURN, RISE = 25.0, 12.0  # degrees
_LIGHT = np.array([-0.35, 0.45, 0.82])  # right, up, toward the viewer
_AMBIENT = 0.38
_FINER = 2  # pixels are drawn at so many times the size, which smooths edges
_MARGIN = 0.94  # of the picture that the cube around the organs may fill


def view_axes(turn: float = TURN, rise: float = RISE) -> NDArray[np.float64]:
    """Rows: directions in RAS+ of the picture's right and top, and toward the viewer.

    Args:
        turn: degrees from the front to the patient's left side.
        rise: degrees above the horizon.
    """
    around, above = np.deg2rad([turn, rise])
    toward = np.array(
        [-np.sin(around) * np.cos(above), np.cos(around) * np.cos(above), np.sin(above)]
    )
    right = np.array([-np.cos(around), -np.sin(around), 0.0])
    return np.stack([right, np.cross(toward, right), toward])


def still(
    meshes: Mapping[int, Mesh],
    shades: Sequence[Color],
    *,
    frame: Sequence[NDArray[np.float64]],
    size: int = 400,
) -> NDArray[np.uint8]:
    """Meshes by label as a picture [size, size, RGBA] on a transparent ground.

    Args:
        shades: color by label.
        frame: points that the picture holds whichever organs are drawn, [n, 3] each.
    """
    axes, fine = view_axes(), size * _FINER
    places = np.concatenate([points @ axes.T for points in frame])
    low, high = places.min(0), places.max(0)
    scale = _MARGIN * fine / max(float((high - low)[:2].max()), 1.0)
    canvas = np.zeros((fine * fine, 4), np.float32)
    nearest = np.full(fine * fine, -np.inf)
    for label, mesh in meshes.items():
        pixels, depths, bright = _samples(mesh, axes, (low + high) / 2, scale, fine)
        np.maximum.at(nearest, pixels, depths)
        seen = depths == nearest[pixels]
        canvas[pixels[seen], :3] = bright[seen, None] * np.array(shades[label])
        canvas[pixels[seen], 3] = 255
    boxes = canvas.reshape(size, _FINER, size, _FINER, 4)
    boxes[..., :3] *= boxes[..., 3:] / 255
    mean = boxes.mean((1, 3))
    mean[..., :3] /= np.maximum(mean[..., 3:] / 255, 1e-6)
    return np.rint(mean.clip(0, 255)).astype(np.uint8)


def _samples(
    mesh: Mesh,
    axes: NDArray[np.float64],
    center: NDArray[np.float64],
    scale: float,
    fine: int,
) -> tuple[NDArray[np.int_], NDArray[np.float64], NDArray[np.float64]]:
    """Pixel, depth and brightness of points on the triangles, less than a pixel apart."""
    places = (mesh.points @ axes.T - center) * scale
    corners, normals = places[mesh.triangles], (mesh.normals @ axes.T)[mesh.triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    front = faces[:, 2] > 0  # of a closed surface, the rest is hidden
    corners, normals = corners[front], normals[front]
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
    cuts = np.maximum(np.ceil(1.3 * sides), 1).astype(int)  # at 1 per pixel, some stay empty
    points, lights = [np.zeros((0, 3))], [np.zeros(0)]
    for count in np.unique(cuts):
        weights = _weights(int(count))
        points.append(_mixed(weights, corners[cuts == count]))
        normal = _mixed(weights, normals[cuts == count])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        lights.append(normal @ (_LIGHT / np.linalg.norm(_LIGHT)))
    point, light = np.concatenate(points), np.concatenate(lights)
    bright = _AMBIENT + (1 - _AMBIENT) * np.maximum(light, 0)
    column = np.floor(point[:, 0] + fine / 2).astype(int).clip(0, fine - 1)
    row = np.floor(fine / 2 - point[:, 1]).astype(int).clip(0, fine - 1)
    return row * fine + column, point[:, 2], bright


def _mixed(weights: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values [n, 3] at the weighted places of triangles, whose corners [t, 3, 3] have them."""
    by_corner = corners.transpose(1, 0, 2).reshape(3, -1)
    return (weights @ by_corner).reshape(-1, 3)


def _weights(count: int) -> NDArray[np.float64]:
    """Barycentric coordinates [n, 3] of a grid with `count` cuts of every side."""
    one, other = np.indices((count + 1, count + 1)).reshape(2, -1)
    inside = one + other <= count
    first, second = one[inside] / count, other[inside] / count
    return np.stack([first, second, 1 - first - second], axis=1)
