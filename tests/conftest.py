"""What tests of several packages share: a small population of phantoms, prepared."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def population(tmp_path_factory):
    """Raw phantom scans: 2 labeled, 2 unlabeled, 1 validation, 2 test, at about 9 mm."""
    from segmentation.data.descriptor import DatasetSpec
    from segmentation.phantom.population import Population, make_population

    folder = tmp_path_factory.mktemp("population") / "raw"
    spec = DatasetSpec.read(ROOT / "data" / "phantom.toml")
    make_population(spec, folder, Population(2, 2, 1, 2, spacing_mm=9.0, seed=5))
    return folder


@pytest.fixture(scope="session")
def prepared(population, tmp_path_factory):
    """The population on a grid of 12 mm, small enough to train on within seconds."""
    from segmentation.data.descriptor import DatasetSpec
    from segmentation.data.preparation import prepare

    spec = DatasetSpec.read(population / "dataset.toml").with_spacing((12.0, 12.0, 12.0))
    folder = tmp_path_factory.mktemp("prepared")
    return prepare(spec, population, folder, spec.split(None, population))


def pytest_addoption(parser):
    parser.addoption("--published", default=None, help="checkout of the released TAK code")
