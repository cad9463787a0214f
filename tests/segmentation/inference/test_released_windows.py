"""A scan in sliding windows beside the released TAK code, from the same weights.

The checkout is yours to bring (github.com/Lunn88/TAK-Semi, commit 8f175c5):

    pytest -m slow tests/segmentation/test_published_windows.py --published DIR
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segmentation.inference.sliding_window import SlidingWindow
from segmentation.networks.alignments.contrast import Contrast
from segmentation.networks.heads.text import TextHead
from segmentation.networks.network import Network
from segmentation.networks.released import convert_weights
from segmentation.networks.vnet import VNet
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
CLASSES, PATCH = 16, 64
STRIDES = 32, 32, 16


@pytest.fixture(scope="module")
def released(request, tmp_path_factory):
    """Weights, image, probabilities and labels of the released code."""
    checkout = request.config.getoption("--published")
    if checkout is None:
        pytest.skip("bring a checkout of the released code: --published DIR")
    kept = tmp_path_factory.mktemp("published") / "windows.pt"
    command = ["-m", "tests.benchmarks.released", Path(checkout).absolute(), "--what", "windows"]
    command += ["--device", "cpu", "--repeats", "1", "--warm-up", "0", "--patch", PATCH]
    command += ["--scan", 81, 70, 60, "--keep", kept]
    subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=True, capture_output=True)
    return torch.load(kept, weights_only=True)


def test_the_label_map_is_the_released_one_but_for_ties(released):
    vectors = released["texts"].view(2, CLASSES, -1).transpose(0, 1)
    vnet = VNet()
    contrast = Contrast(vnet.widths[-3:], vectors.shape[2], own_deepest=False)
    head = TextHead(16, vnet.widths[-3:], *vectors.shape[1:])
    network = Network(vnet, head, contrast, vectors)
    own = {f"network.{name}": value for name, value in network.state_dict().items()}
    found = convert_weights(released["weights"], own)
    weights = {name.removeprefix("network."): value for name, value in (own | found).items()}
    network.load_state_dict(weights)
    overlap = tuple(1 - stride / PATCH for stride in STRIDES)
    window = SlidingWindow((PATCH,) * 3, overlap, blend="constant")
    scores = window.probabilities(network, released["image"])
    torch.testing.assert_close(scores, released["scores"], atol=2e-4, rtol=0)
    first, second = scores.topk(2, 0).values
    clear = first - second > 4e-4
    assert clear.float().mean() > 0.98
    assert torch.equal(scores.argmax(0)[clear], released["labels"][clear])
