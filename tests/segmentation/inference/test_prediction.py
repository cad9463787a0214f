import itertools
import subprocess
import sys
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import SimpleITK
import torch
from scipy.spatial.transform import Rotation
from torch.nn import functional as F

from segmentation.data.descriptor import DatasetSpec
from segmentation.imaging.volume import Volume, write_labels
from segmentation.inference.prediction import labels_at, planes_at, predict_scan
from segmentation.inference.sliding_window import SlidingWindow
from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.network import Network
from segmentation.networks.vnet import VNet

OBLIQUE = Rotation.from_euler("xyz", (12, -8, 20), degrees=True).as_matrix()
ORIENTATIONS = [
    (order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]
CPU = torch.device("cpu")
PATCH = (16, 16, 16)


def spec_of(*names: str, spacing_mm=(4.0, 4.0, 4.0)) -> DatasetSpec:
    organs = [{"name": name, "label": i, "size": "large"} for i, name in enumerate(names, 1)]
    return DatasetSpec.model_validate(
        {
            "name": "made-up",
            "title": "For tests",
            "modality": "CT",
            "layout": "nnunet",
            "orientation": "RAS",
            "window_hu": (0, 100),
            "grid": {"spacing_mm": spacing_mm},
            "protocol": "test",
            "organs": organs,
            "splits": "data",
        }
    )


SPEC = spec_of("one", "two")


class Logits(NamedTuple):
    logits: torch.Tensor


class ByGrayValue(torch.nn.Module):
    """A network that knows classes 0, 1, 2 by gray values 0.5, 0 and 1."""

    def forward(self, image):
        levels = torch.tensor([0.5, 0, 1]).reshape(1, 3, 1, 1, 1)
        return Logits(-80 * (image - levels) ** 2)


def small_network(classes=3) -> Network:
    torch.manual_seed(0)
    return Network(VNet(width=4, levels=3), ConvHead(4, classes)).eval()


def planes_of(network):
    return partial(SlidingWindow(PATCH).planes, network)


def body() -> tuple[Volume, np.ndarray]:
    """An unsymmetrical scan in RAS+ with two organs, and its true labels."""
    shape, spacing = (30, 26, 20), (3.0, 3.5, 5.0)
    x, y, z = (
        step * np.arange(n).reshape(s)
        for n, step, s in zip(shape, spacing, [(-1, 1, 1), (1, -1, 1), (1, 1, -1)], strict=True)
    )
    labels = np.zeros(shape, np.uint8)
    labels[((x - 28) / 16) ** 2 + ((y - 30) / 20) ** 2 + ((z - 60) / 25) ** 2 < 1] = 1
    labels[((x - 62) / 18) ** 2 + ((y - 55) / 15) ** 2 + ((z - 30) / 20) ** 2 < 1] = 2
    noise = np.random.default_rng(0).normal(0, 3, shape)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-45, -30, 12)
    gray = np.array([50.0, 0.0, 100.0])[labels] + noise
    return Volume(gray.astype(np.float32), affine), labels


def turned(volume: Volume, order, flips, rotation=None) -> Volume:
    """The same patient stored with other axes, and, with a rotation, lying askew."""
    voxels = volume.voxels.transpose(order)
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        change[old, new] = flip
        change[old, 3] = 0 if flip > 0 else volume.voxels.shape[old] - 1
    voxels = voxels[tuple(slice(None, None, flip) for flip in flips)]
    lie = np.eye(4)
    lie[:3, :3] = np.eye(3) if rotation is None else rotation
    return Volume(np.ascontiguousarray(voxels), lie @ volume.affine @ change)


@pytest.mark.parametrize("rotation", [None, OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_the_same_organs_in_the_patient_whatever_the_orientation(order, flips, rotation):
    assert_turns_with_the_patient(ByGrayValue(), order, flips, rotation)


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS[3::15])
def test_a_v_net_sees_every_orientation_alike(order, flips):
    assert_turns_with_the_patient(small_network(), order, flips, OBLIQUE)


def assert_turns_with_the_patient(network, order, flips, rotation) -> None:
    scan, _ = body()
    upright = predict_scan(planes_of(network), scan, SPEC, CPU)
    other = turned(scan, order, flips, rotation)
    found = predict_scan(planes_of(network), other, SPEC, CPU)
    expected = turned(Volume(upright, scan.affine), order, flips).voxels
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 1


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS[::7])
def test_simpleitk_finds_the_organs_where_they_were_put(tmp_path, order, flips):
    scan, labels = body()
    other = turned(scan, order, flips, OBLIQUE)
    found = predict_scan(planes_of(ByGrayValue()), other, SPEC, CPU)
    write_labels(tmp_path / "mask.nii.gz", found, other.affine)
    statistics = SimpleITK.LabelShapeStatisticsImageFilter()
    statistics.Execute(SimpleITK.ReadImage(str(tmp_path / "mask.nii.gz")))
    for label in (1, 2):
        index = np.argwhere(labels == label).mean(0)
        right, front, up = OBLIQUE @ (scan.affine[:3, :3] @ index + scan.affine[:3, 3])
        np.testing.assert_allclose(statistics.GetCentroid(label), (-right, -front, up), atol=1)
        volume = (labels == label).sum() * np.prod(scan.spacing_mm)
        assert statistics.GetPhysicalSize(label) == pytest.approx(volume, rel=0.1)


@pytest.mark.parametrize("shape", [(10, 12, 14), (25, 30, 20), (4, 5, 3), (7, 12, 40), (1, 1, 1)])
@pytest.mark.parametrize("depth", [10, 1])
def test_plane_by_plane_equals_trilinear_interpolation(shape, depth):
    torch.manual_seed(2)
    found = torch.rand(3, depth, 12, 14)
    expected = F.interpolate(found[None], shape, mode="trilinear", align_corners=False)[0]
    planes = torch.stack(list(planes_at(found.unbind(1), depth, shape)), dim=1)
    torch.testing.assert_close(planes, expected)
    np.testing.assert_array_equal(
        labels_at(found.unbind(1), depth, shape), expected.argmax(0).numpy()
    )


def test_probabilities_of_the_scan_are_handed_out_plane_by_plane():
    scan, _ = body()
    kept = {}
    labels = predict_scan(planes_of(ByGrayValue()), scan, SPEC, CPU, keep=kept.__setitem__)
    stacked = torch.stack([kept[x] for x in range(30)], dim=1)
    assert stacked.shape == (3, 30, 26, 20)
    np.testing.assert_array_equal(stacked.argmax(0).numpy(), labels)


LARGE = """
import resource, sys
import torch
sys.path.insert(0, sys.argv[1])
from test_prediction import CPU, spec_of
from segmentation.inference.prediction import predict_scan
from segmentation.imaging.volume import read_volume, write_labels
from segmentation.inference.sliding_window import SlidingWindow
from functools import partial
from typing import NamedTuple

class Logits(NamedTuple):
    logits: torch.Tensor

class Cheap(torch.nn.Module):
    def forward(self, image):
        return Logits(image * torch.linspace(-1, 1, 16).reshape(1, 16, 1, 1, 1))

spec = spec_of(*(f"organ {i}" for i in range(15)), spacing_mm=(float(sys.argv[3]),) * 3)
scan = read_volume(sys.argv[2])
labels = predict_scan(
    partial(SlidingWindow((96, 96, 96), 0.0).planes, Cheap()), scan, spec, CPU
)
write_labels(sys.argv[2].replace("scan.nii", "mask.nii"), labels, scan.affine)
print(labels.shape, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("spacing_mm", [1.5, 0.75])
def test_a_large_scan_with_sixteen_classes_needs_less_than_8_gib(tmp_path, spacing_mm):
    """512 x 512 x 400 voxels of 0.75 x 0.75 x 1 mm; the second grid is as fine as the scan."""
    from segmentation.imaging.volume import write_volume

    voxels = np.random.default_rng(0).integers(-1000, 1000, (512, 512, 400), dtype=np.int16)
    write_volume(tmp_path / "scan.nii.gz", voxels, np.diag([-0.75, -0.75, 1.0, 1.0]))
    del voxels
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            LARGE,
            __file__.rpartition("/")[0],
            tmp_path / "scan.nii.gz",
            str(spacing_mm),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    shape, _, gib = done.stdout.strip().rpartition(" ")
    assert shape == "(512, 512, 400)"
    assert float(gib) < 8
