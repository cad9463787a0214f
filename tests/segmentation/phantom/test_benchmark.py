"""Benchmarks: files that fix a population, and the digest of its voxels."""

import shutil

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.files import shipped
from segmentation.data.descriptor import DatasetSpec
from segmentation.phantom.benchmark import Benchmark, digest
from segmentation.phantom.population import make_population

TINY = """
name = "tiny-amos"
title = "Two scans"
version = 1
descriptor = "amos"
spacing_mm = [9.0, 9.0, 9.0]
scan_mm = 9.0
labeled = 1
unlabeled = 1
validation = 0
test = 0
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A benchmark file and its population."""
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "tiny.toml").write_text(TINY)
    benchmark = Benchmark.read(folder / "tiny.toml")
    spec = DatasetSpec.read(shipped.find("data", "amos")).with_spacing(benchmark.spacing_mm)
    make_population(spec, folder / "scans", benchmark.population)
    return folder, benchmark


def test_all_cases_have_masks_so_that_others_can_be_drawn_as_labeled(tiny):
    folder, _ = tiny
    assert len(list((folder / "scans" / "labelsTr").iterdir())) == 2
    split = DatasetSpec.read(folder / "scans" / "dataset.toml").split(root=folder / "scans")
    assert (split.labeled, split.unlabeled) == (("phantom_0000",), ("phantom_0001",))


def test_the_digest_sees_one_voxel_and_not_the_compression(tiny, tmp_path):
    folder, benchmark = tiny
    first = digest(folder / "scans", benchmark.population)
    shutil.copytree(folder / "scans", tmp_path / "copy")
    path = tmp_path / "copy" / "imagesTr" / "phantom_0001_0000.nii.gz"
    image = nibabel.load(path)
    voxels = np.asarray(image.dataobj).copy()
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), path)  # another header
    assert digest(tmp_path / "copy", benchmark.population, jobs=2) == first
    voxels[3, 4, 5] += 1
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), path)
    assert digest(tmp_path / "copy", benchmark.population) != first


def test_the_command_verifies_or_says_what_differs(tiny, tmp_path):
    folder, benchmark = tiny
    right = digest(folder / "scans", benchmark.population)
    for value, said in (
        (right, "(sha256 verified)"),
        ("0" * 64, "warning: the voxels differ"),
        ("", f"states no sha256; that of these voxels is {right}"),
    ):
        file = tmp_path / "own.toml"
        file.write_text(f'{TINY}sha256 = "{value}"\n')
        result = CliRunner().invoke(
            app, ["phantom", str(folder / "scans"), "--benchmark", str(file)]
        )
        assert result.exit_code == 0, result.output
        assert said in result.output
        assert "0 scans written, 2 existed" in result.output


def test_options_that_the_benchmark_sets_are_refused(tmp_path):
    words = ["phantom", str(tmp_path / "out"), "--benchmark", "phantom-amos-small", "--seed", "3"]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, ValueError)
    assert "--seed: a benchmark sets it" in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", shipped.names("benchmarks"))
def test_shipped_benchmarks_are_named_as_their_files_and_have_a_descriptor(name):
    benchmark = Benchmark.read(shipped.find("benchmarks", name))
    assert benchmark.name == name
    assert len(benchmark.sha256) == 64
    assert DatasetSpec.read(shipped.find("data", benchmark.descriptor)).organs


def test_an_unknown_key_is_named(tmp_path):
    (tmp_path / "own.toml").write_text(TINY + "seeds = 3\n")
    with pytest.raises(ValueError, match=r"own\.toml: seeds: unknown key"):
        Benchmark.read(tmp_path / "own.toml")


@pytest.mark.slow
def test_the_small_edition_is_made_voxel_by_voxel(tmp_path):
    """Half a minute on two cores; may differ on other processors, see `digest`."""
    benchmark = Benchmark.read(shipped.find("benchmarks", "phantom-amos-small"))
    spec = DatasetSpec.read(shipped.find("data", "amos")).with_spacing(benchmark.spacing_mm)
    make_population(spec, tmp_path / "out", benchmark.population, jobs=2)
    assert digest(tmp_path / "out", benchmark.population, jobs=2) == benchmark.sha256
