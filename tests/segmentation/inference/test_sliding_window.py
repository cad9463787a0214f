from typing import NamedTuple

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import sliding_window_inference

from segmentation.inference.sliding_window import SlidingWindow, importance_map, window_slices
from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.network import Network
from segmentation.networks.vnet import VNet

PATCH = (16, 16, 16)


def small_network(classes=3) -> Network:
    torch.manual_seed(0)
    return Network(VNet(width=4, levels=3), ConvHead(4, classes)).eval()


class Logits(NamedTuple):
    logits: torch.Tensor


class ByGrayValue(torch.nn.Module):
    """A network that finds class c where the gray value is c."""

    def __init__(self, classes=3):
        super().__init__()
        self.levels = torch.arange(classes).reshape(1, classes, 1, 1, 1)

    def forward(self, image):
        return Logits(-80 * (image - self.levels) ** 2)


@pytest.mark.parametrize("side", [1, 2, 7, 16, 33])
@pytest.mark.parametrize("blend", ["gaussian", "constant"])
def test_weights_equal_monai_s(side, blend):
    patch = (side, 16, 5)
    expected = compute_importance_map(patch, blend)
    torch.testing.assert_close(importance_map(patch, blend), expected, atol=0, rtol=0)


def test_an_unknown_blend_is_refused():
    with pytest.raises(LookupError, match="no blend 'mean'; there is gaussian, constant"):
        importance_map(PATCH, "mean")


@pytest.mark.parametrize("image", [(16, 16, 16), (17, 40, 25), (100, 16, 31)])
@pytest.mark.parametrize("stride", [(16, 16, 16), (8, 5, 1), (11, 16, 7)])
def test_windows_are_placed_as_by_monai(image, stride):
    steps = [16 if size == 16 else step for size, step in zip(image, stride, strict=True)]
    assert window_slices(image, PATCH, stride) == dense_patch_slices(image, PATCH, steps)


@pytest.mark.parametrize("shape", [(24, 20, 18), (16, 16, 16), (10, 30, 9), (17, 16, 25)])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, (0.5, 0.0, 0.75)])
@pytest.mark.parametrize("blend", ["gaussian", "constant"])
def test_window_by_window_equals_monai(shape, overlap, blend):
    torch.manual_seed(1)
    image = torch.rand(shape)
    network = small_network()

    def classify(windows):
        return network(windows).logits.softmax(1)

    with torch.inference_mode():
        expected = sliding_window_inference(image[None, None], PATCH, 4, classify, overlap, blend)[
            0
        ]
    averages = SlidingWindow(PATCH, overlap, blend=blend).probabilities(network, image)
    torch.testing.assert_close(averages, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(averages.sum(0), torch.ones(shape), atol=1e-4, rtol=0)


def test_windows_are_counted_and_the_network_is_left_as_it_was():
    network = small_network().train()
    seen = []
    count = []
    for plane in SlidingWindow(PATCH).planes(
        network, torch.rand(40, 16, 30), tick=lambda *counts: count.append(counts)
    ):
        assert not network.training
        seen.append(plane.shape)
    assert seen == [(3, 16, 30)] * 40
    assert network.training
    assert count[-1] == (12, 12)
    assert [done for done, _ in count] == sorted(done for done, _ in count)


@pytest.mark.parametrize(("depth", "passes"), [(16, [1]), (80, [2, 3]), (144, [3, 3, 3])])
def test_no_window_is_left_over_alone(depth, passes):
    sizes = []

    class Counted(ByGrayValue):
        def forward(self, image):
            sizes.append(len(image))
            return super().forward(image)

    planes = SlidingWindow(PATCH, 0.0).planes(Counted(), torch.rand(depth, 16, 16))
    assert len(list(planes)) == depth
    assert sizes == passes


@pytest.mark.parametrize(("classes", "kind"), [(3, np.uint8), (300, np.uint16)])
def test_labels_made_plane_by_plane_are_the_most_probable_classes(classes, kind):
    image = torch.randint(classes, (20, 17, 9), generator=torch.Generator().manual_seed(0))
    labels = SlidingWindow((8, 8, 8), 0.0).labels(ByGrayValue(classes), image.float())
    assert labels.dtype == kind
    np.testing.assert_array_equal(labels, image.numpy())
