"""Grids and scalings of descriptors, and descriptors that extend others."""

import numpy as np
import pytest

from segmentation.data.descriptor import DatasetSpec, Grid
from segmentation.data.preparation import to_grid
from segmentation.data.split import list_digest
from segmentation.imaging.volume import Volume
from tests.support.paths import DATA


def scan(shape, low=-1000.0, high=1000.0):
    voxels = np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)
    return Volume(voxels, np.diag([0.8, 0.8, 3.0, 1.0]))


def test_dhc_halves_the_planes_of_synapse_and_fixes_the_shape_of_amos():
    synapse = to_grid(scan((51, 40, 9)), DatasetSpec.read(DATA / "synapse-dhc.toml"))
    assert synapse.voxels.shape == (25, 20, 9)
    assert synapse.spacing_mm == pytest.approx((0.8 * 51 / 25, 1.6, 3.0))
    amos = to_grid(scan((51, 40, 9)), DatasetSpec.read(DATA / "amos-dhc.toml"))
    assert amos.voxels.shape == (160, 160, 80)


def test_a_scans_own_range_within_the_window_is_stretched():
    spec = DatasetSpec.read(DATA / "synapse-dhc.toml")
    plain = spec.model_copy(update={"grid": Grid(shrink=(1, 1, 1))})
    dark = scan((6, 6, 6), -50, 150)
    found = to_grid(dark, plain).voxels
    low, high = dark.voxels.min(), dark.voxels.max()
    np.testing.assert_allclose(found, (dark.voxels - low) / (high - low), atol=0.51 / 65535)
    wide = scan((6, 6, 6))
    clipped = (np.clip(wide.voxels, -75, 275) + 75) / 350
    np.testing.assert_allclose(to_grid(wide, plain).voxels, clipped, atol=0.51 / 65535)


def test_a_scan_without_any_range_is_refused():
    spec = DatasetSpec.read(DATA / "amos-dhc.toml")
    with pytest.raises(ValueError, match=r"is -75 throughout the window -75 to 275 HU"):
        to_grid(scan((4, 4, 4), -1000, -900), spec)


@pytest.mark.parametrize("name", ["amos", "synapse"])
def test_a_descriptor_that_extends_another_says_only_what_differs(name):
    base, dhc = (DatasetSpec.read(DATA / f"{each}.toml") for each in (name, f"{name}-dhc"))
    assert dhc.organs == base.organs
    assert (dhc.window_hu, dhc.scaling) == ((-75, 275), "volume")
    assert dhc.digest != base.digest


def test_a_descriptor_extends_a_file_beside_it_alone(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(f'extends = "{DATA / "amos.toml"}"\n')
    with pytest.raises(ValueError, match="extends names a file in the same folder, not '/"):
        DatasetSpec.read(path)
    path.write_text('extends = "none.toml"\n')
    with pytest.raises(FileNotFoundError):
        DatasetSpec.read(path)


def test_grids_say_what_they_are():
    assert str(Grid(spacing_mm=(1.5, 1.5, 2))) == "1.5 x 1.5 x 2 mm"
    assert str(Grid(shape=(160, 160, 80))) == "160 x 160 x 80 voxels"
    assert str(Grid(shrink=(2, 2, 1))) == "own voxels / 2 x 2 x 1"


def test_another_name_for_an_organ_does_not_change_what_was_prepared():
    spec = DatasetSpec.read(DATA / "amos.toml")
    organs = tuple(organ.model_copy(update={"aliases": ()}) for organ in spec.organs[::-1])
    assert spec.model_copy(update={"organs": organs}).digest == spec.digest
    assert spec.model_copy(update={"scaling": "volume"}).digest != spec.digest


def test_lists_that_are_known_to_be_unsound_are_refused_with_the_reason(tmp_path):
    parts = {"train": "a b c", "labeled": "b a", "validation": "c", "test": "d"}
    for part, cases in parts.items():
        (tmp_path / f"{part}.txt").write_text("".join(f"{case}\n" for case in cases.split()))
    spec = DatasetSpec.read(DATA / "amos.toml")
    with pytest.raises(ValueError, match=r"1 in unlabeled and validation: c$"):
        spec.split(tmp_path)
    known = spec.model_copy(update={"refused": {list_digest(["a", "b"]): "drawn elsewhere"}})
    with pytest.raises(ValueError, match=r"unlabeled and validation: c; drawn elsewhere$"):
        known.split(tmp_path)


def test_the_circulating_lists_of_amos_are_known():
    (reason,) = DatasetSpec.read(DATA / "amos.toml").refused.values()
    assert reason.startswith("these are the 20 % lists that circulate for AMOS")
    assert "20 of their cases, 3 labeled and 17 unlabeled, are validation cases" in reason
