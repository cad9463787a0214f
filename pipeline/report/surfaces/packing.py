"""Meshes of a case for the page: quantized, compressed, in base64."""

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report.surfaces.meshes import Mesh

STEPS = 65_535  # of a coordinate, over the longest side of the box around all organs


@dataclass(frozen=True)
class PackedMeshes:
    """The meshes of one case for surfaces.js.

    Attributes:
        about: for JavaScript: `parts` [mask, label, points, quads] in order, `side` in mm.
        packed: unsigned 16-bit numbers, low byte first: of every part the x, then y, then z of its
            points, then the four columns of its quads, each column as differences modulo 65536;
            all low bytes, then all high bytes, deflated (zlib), in base64.
    """

    about: dict[str, Any]
    packed: str


def pack_meshes(meshes: Mapping[str, Mapping[int, Mesh]]) -> PackedMeshes:
    """The meshes of truth and prediction in one frame."""
    parts = [(name, label, mesh) for name, each in meshes.items() for label, mesh in each.items()]
    corner, side = _frame([mesh for *_, mesh in parts])
    columns = [
        column
        for *_, mesh in parts
        for table in (np.rint((mesh.points - corner) / side * STEPS).astype(np.int64), mesh.quads)
        for column in table.T
    ]
    # Neighbors in a column are alike: their differences compress to half.
    moves = [np.diff(column, prepend=0) for column in columns]
    numbers = (np.concatenate(moves) if moves else np.zeros(0, int)).astype(np.uint16)
    content = (numbers & 255).astype(np.uint8).tobytes() + (numbers >> 8).astype(np.uint8).tobytes()
    about = {
        "parts": [
            [name, int(label), len(mesh.points), len(mesh.quads)] for name, label, mesh in parts
        ],
        "side": side,
    }
    return PackedMeshes(about, base64.b64encode(zlib.compress(content, 9)).decode())


def _frame(meshes: list[Mesh]) -> tuple[NDArray[np.float64], float]:
    """Lowest corner and side in mm of a cube around all points, all in its middle."""
    points = np.concatenate([mesh.points for mesh in meshes]) if meshes else np.zeros((1, 3))
    low, high = points.min(0), points.max(0)
    side = float(max((high - low).max(), 1.0))
    return (low + high - side) / 2, side
