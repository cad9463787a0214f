"""A wrong voxel size is noticed by the size of organs; small and large people are left in peace."""

import numpy as np
import pytest

from segmentation.data.checks import read_bounds, volume_warning
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.shared_arrays import open_arrays
from segmentation.phantom.population import Population, make_population
from tests.support.paths import DATA
from tests.support.shared_export import export

BOUNDS = read_bounds(DATA / "anatomy" / "volumes.toml")
USUAL = {name: usual for name, (_, usual, _) in BOUNDS.items()}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Phantoms at 7 mm as another repository shares them."""
    folder = tmp_path_factory.mktemp("shared")
    spec = DatasetSpec.read(DATA / "phantom.toml")
    make_population(spec, folder / "raw", Population(2, 0, 0, 1, spacing_mm=7.0))
    export(folder / "raw", folder / "arrays", "npy-ga")
    return spec, folder / "arrays"


def opened(shared, spacing):
    spec, root = shared
    parts = spec.split(None, root)
    _, reader = open_arrays(spec, root, parts.with_labels, ["npy-ga"], spacing_mm=spacing)
    return reader


def test_bounds_rise_and_name_organs_that_descriptors_know():
    known = {name for path in DATA.glob("*.toml") for name in DatasetSpec.read(path).labels}
    assert set(BOUNDS) <= known
    assert all(0 < low < usual < most for low, usual, most in BOUNDS.values())


@pytest.mark.parametrize("size", [0.6, 0.8, 1.0, 1.2])
def test_phantoms_of_children_and_of_adults_raise_no_doubt(shared, size):
    spacing = (7.0 * size,) * 3
    assert volume_warning(opened(shared, spacing).volumes_ml, spacing, BOUNDS) is None


@pytest.mark.parametrize("size", [2.0, 3.0, 0.2])
def test_a_wrong_spacing_is_doubted_and_the_right_one_is_near(shared, size):
    spacing = (7.0 * size,) * 3
    told = volume_warning(opened(shared, spacing).volumes_ml, spacing, BOUNDS)
    assert told is not None
    likely = float(told.partition("a spacing of about ")[2].split(" x ")[0])
    assert likely == pytest.approx(7.0, rel=0.25)


def test_volumes_are_counted_voxel_by_voxel(shared):
    spec, root = shared
    labels = [np.load(root / f"{name}_label.npy") for name in spec.split(None, root).with_labels]
    reader = opened(shared, (1.0, 2.0, 5.0))
    for name, label in spec.labels.items():
        counts = [int((mask == label).sum()) for mask in labels]
        assert reader.volumes_ml[name] == pytest.approx(np.median([n for n in counts if n]) / 100)


@pytest.mark.parametrize(
    ("volumes", "doubted"),
    [
        (USUAL, False),
        ({name: volume * 8 for name, volume in USUAL.items()}, True),
        ({name: volume / 60 for name, volume in USUAL.items()}, True),
        (USUAL | {"liver": 4500, "spleen": 1400}, False),  # a patient
        ({"liver": 20_000.0, "spleen": 20_000.0}, False),  # too few to tell
        ({"femur": 1e9}, False),
        ({}, False),
    ],
)
def test_most_organs_decide(volumes, doubted):
    assert (volume_warning(volumes, (1.5, 1.5, 2.0), BOUNDS) is not None) == doubted


def test_the_factor_and_the_spacing_are_told():
    told = volume_warning(
        {name: volume * 8 for name, volume in USUAL.items()}, (3.0, 3.0, 4.0), BOUNDS
    )
    assert "8 times the volume of an adult's" in told
    assert "a spacing of about 1.5 x 1.5 x 2 mm would explain it" in told
