"""Pictures of banks: what is on them, and what they cost."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from knowledge.bank.plot import _places, plot, principal_components
from tests.knowledge.bank.test_bank_tools import bank
from tests.support.paths import ROOT

COST = """
import sys, time
from pathlib import Path
import numpy as np
from knowledge.bank.bank import Bank
from knowledge.bank.plot import plot
vectors = np.random.default_rng(0).standard_normal((1000, 2, 384)).astype(np.float32)
names = tuple(f"structure number {i}" for i in range(1000))
counts, fingerprint = np.ones((1000, 2), np.int32), np.zeros((0, 384), np.float32)
bank = Bank(names, ("place", "form"), vectors, (("a", "b"),) * 1000, counts, "x", fingerprint)
start = time.process_time()
plot(bank, Path(sys.argv[1]), [(9, 9, 9)] * 1000)
peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
print(time.process_time() - start, int(peak) / 1024)
"""


def test_principal_components_keep_the_distances_of_a_plane() -> None:
    generator = np.random.default_rng(0)
    plane = generator.standard_normal((6, 2))
    basis, _ = np.linalg.qr(generator.standard_normal((9, 2)))
    found = principal_components((plane @ basis.T).astype(np.float32))
    for i in range(6):
        for j in range(6):
            distance = np.linalg.norm(plane[i] - plane[j])
            assert np.linalg.norm(found[i] - found[j]) == pytest.approx(distance, abs=1e-5)


def test_a_plot_is_a_picture_with_something_on_it(tmp_path: Path) -> None:
    drawn = bank()
    shades = [(200, 20 * row, 0) for row in range(len(drawn.classes))]
    plot(drawn, tmp_path / "bank.png", shades)
    picture = imread(tmp_path / "bank.png")
    assert min(picture.shape[:2]) > 400
    assert picture.std() > 0.1
    pixels = np.rint(255 * picture[..., :3]).reshape(-1, 3).astype(int)
    assert all((pixels == shade).all(1).any() for shade in shades)
    assert [path.name for path in tmp_path.iterdir()] == ["bank.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_classes_cost_seconds_and_below_a_gigabyte(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COST, str(tmp_path / "bank.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    seconds, mebibytes = map(float, done.stdout.split())
    assert seconds < 10
    assert mebibytes < 1024
    picture = imread(tmp_path / "bank.png")
    assert max(picture.shape[:2]) <= 3520
    assert picture.std() > 0.05


def test_labels_cover_neither_points_nor_each_other_and_stay_in_the_frame() -> None:
    generator = np.random.default_rng(0)
    points = 100 + 150 * generator.random((30, 2))  # a dense heap in a wide frame
    sizes = np.column_stack([generator.uniform(40, 120, 30), np.full(30, 12.0)])
    places = _places(points, sizes, (0, 0, 600, 400))
    boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(places, sizes, strict=True)]
    for index, (left, low, right, high) in enumerate(boxes):
        assert left >= 0
        assert low >= 0
        assert right <= 600
        assert high <= 400
        inside = (points[:, 0] > left) & (points[:, 0] < right)
        assert not (inside & (points[:, 1] > low) & (points[:, 1] < high)).any()
        for other in boxes[:index]:
            apart = right <= other[0] or other[2] <= left or high <= other[1] or other[3] <= low
            assert apart
