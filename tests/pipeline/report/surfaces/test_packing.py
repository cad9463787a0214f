"""Packed meshes: what JavaScript unpacks is the mesh."""

import base64
import zlib

import numpy as np

from pipeline.report.surfaces.meshes import organ_mesh
from pipeline.report.surfaces.packing import STEPS, pack_meshes


def unpacked(packed):
    """Points in the unit cube and quads of every part, by the layout that surfaces.js states."""
    content = np.frombuffer(zlib.decompress(base64.b64decode(packed.packed)), np.uint8)
    low, high = content.reshape(2, -1).astype(int)
    numbers, place, meshes = low | (high << 8), 0, []
    for _, _, points, quads in packed.about["parts"]:
        columns = []
        for length in [points] * 3 + [quads] * 4:
            columns.append(numbers[place : place + length].cumsum() & 65535)
            place += length
        meshes.append((np.stack(columns[:3], 1) / STEPS, np.stack(columns[3:], 1)))
    assert place == len(numbers)
    return meshes


def test_points_are_kept_to_a_thousandth_of_a_millimeter_and_faces_exactly():
    random = np.random.default_rng(0)
    affine = np.diag([1.5, 1.5, 2.0, 1])
    one, other = (organ_mesh(random.random((9, 8, 7)) > 0.7, affine) for _ in range(2))
    packed = pack_meshes({"truth": {1: one}, "prediction": {2: other}})
    assert [part[:2] for part in packed.about["parts"]] == [["truth", 1], ["prediction", 2]]
    side = packed.about["side"]
    corner = None
    for (points, quads), mesh in zip(unpacked(packed), (one, other), strict=True):
        np.testing.assert_array_equal(quads, mesh.quads)
        corner = (mesh.points - points * side)[0] if corner is None else corner
        np.testing.assert_allclose(points * side + corner, mesh.points, atol=1.1 * side / STEPS)
        assert points.min() >= 0
        assert points.max() <= 1


def test_no_mesh_is_no_content():
    packed = pack_meshes({"truth": {}, "prediction": {}})
    assert packed.about["parts"] == []
    assert unpacked(packed) == []
