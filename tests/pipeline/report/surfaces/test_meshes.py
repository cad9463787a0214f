"""Meshes of organs: closed, true to size and place, small enough; also against VTK."""

from collections import Counter

import numpy as np
import pytest

from pipeline.report.surfaces.meshes import case_meshes, organ_mesh
from tests.support.report_material import case_of

AFFINE = np.array([[2.0, 0, 0, 10], [0, 1.5, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])


def volume_of(mesh):
    """Volume in mm3 by the divergence theorem; positive if faces look outward."""
    a, b, c = mesh.points[mesh.triangles].transpose(1, 0, 2)
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def area_of(mesh):
    a, b, c = mesh.points[mesh.triangles].transpose(1, 0, 2)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def ball(radius, shape, center, affine):
    """Voxels whose center lies in a ball in mm."""
    places = np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    return (np.linalg.norm(places - center, axis=1) < radius).reshape(shape)


def is_closed(mesh):
    """Whether every edge is walked as often in one direction as in the other."""
    edges = Counter()
    for one, other in ((0, 1), (1, 2), (2, 3), (3, 0)):
        edges.update(zip(mesh.quads[:, one].tolist(), mesh.quads[:, other].tolist(), strict=True))
    return all(edges[other, one] == number for (one, other), number in edges.items())


@pytest.mark.parametrize("most", [400, 1500, 100_000])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_ball_keeps_its_place_volume_and_area_however_coarse_its_mesh(most, mirrored):
    affine = AFFINE * np.array([-1.0 if mirrored else 1.0, 1, 1, 1])
    center = affine[:3, :3] @ [24, 32, 16] + affine[:3, 3]
    mesh = organ_mesh(ball(30.0, (48, 64, 32), center, affine), affine, most=most)
    assert len(mesh.points) <= most
    assert is_closed(mesh)
    assert volume_of(mesh) == pytest.approx(4 / 3 * np.pi * 30**3, rel=0.05 if most > 400 else 0.08)
    assert area_of(mesh) == pytest.approx(4 * np.pi * 30**2, rel=0.08)
    np.testing.assert_allclose(mesh.points.mean(0), center, atol=1.5)
    distance = np.linalg.norm(mesh.points - center, axis=1)
    np.testing.assert_allclose(distance, 30, atol=3 if most > 400 else 5)
    outward = (mesh.points - center) / distance[:, None]
    assert (np.einsum("ij,ij->i", mesh.normals, outward) > 0.8).all()


def test_the_surface_is_the_one_that_vtk_contours():
    pyvista = pytest.importorskip("pyvista")
    random = np.random.default_rng(0)
    from scipy import ndimage

    mask = ndimage.gaussian_filter(random.random((30, 28, 26)), 3) > 0.5
    mask = ndimage.binary_erosion(np.pad(mask[2:-2, 2:-2, 2:-2], 3))
    mesh = organ_mesh(mask, np.eye(4), most=10**6)
    grid = pyvista.ImageData(dimensions=mask.shape)
    grid.point_data["mask"] = mask.astype(np.uint8).ravel(order="F")
    contour = grid.contour([0.5], scalars="mask").smooth_taubin(n_iter=20, pass_band=0.1)
    assert is_closed(mesh)
    assert volume_of(mesh) == pytest.approx(contour.volume, rel=0.05)
    assert area_of(mesh) == pytest.approx(contour.area, rel=0.1)
    near = [np.linalg.norm(contour.points - point, axis=1).min() for point in mesh.points[::20]]
    assert max(near) < 1.2


def test_thin_and_tiny_organs_do_not_vanish():
    tube = np.zeros((40, 40, 40), bool)
    tube[20, 20, 2:38] = True
    voxel = np.zeros((5, 5, 5), bool)
    voxel[0, 4, 2] = True
    for mask, most in ((tube, 1500), (tube, 60), (voxel, 1500)):
        mesh = organ_mesh(mask, np.eye(4), most=most)
        assert len(mesh.quads) > 4
        assert is_closed(mesh)
        assert 0.1 < volume_of(mesh) / mask.sum() < 8


def test_a_case_has_a_mesh_per_organ_that_a_mask_shows():
    truth, prediction = np.zeros((2, 12, 12, 12), int)
    truth[2:6, 2:6, 2:6], truth[7:10, 7:10, 7:10] = 1, 2
    prediction[2:6, 2:6, 2:6] = 1
    meshes = case_meshes(case_of(truth, prediction), ("background", "liver", "spleen", "aorta"))
    assert {name: list(each) for name, each in meshes.items()} == {
        "truth": [1, 2],
        "prediction": [1],
    }
