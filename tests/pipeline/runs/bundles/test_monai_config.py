"""Bundles as folders: MONAI's own runner, without tak-seg, gives the masks of `tak predict`."""

import dataclasses
import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from scipy.ndimage import gaussian_filter

from pipeline import Predictor
from pipeline.runs.bundles.monai_config import CONFIG, inference_config
from pipeline.runs.bundles.writing import write
from pipeline.runs.open_model import open_model
from segmentation.data.descriptor import DatasetSpec, Grid
from segmentation.data.preparation import to_grid
from segmentation.imaging.volume import read_volume
from tests.support.paths import DATA
from tests.support.small_run import make_run

SPEC = DatasetSpec.read(DATA / "phantom.toml")
TILTED = np.array([[0, -3.0, 0, 80], [-2.9, 0, 0.2, 70], [0, 0.2, 4, -30], [0, 0, 0, 1]])
ALONE = """
import importlib.abc, runpy, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {absent}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
runpy.run_module('monai.bundle', run_name='__main__')
"""
ABSENT = ("knowledge", "segmentation", "pipeline", "scipy", "safetensors", "h5py", "SimpleITK",
          "itk", "skimage", "pydicom", "pydantic", "ignite", "transformers")  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("monai") / "run", SPEC)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """Smooth random HU, axes permuted, flipped and tilted by some degrees."""
    path = tmp_path_factory.mktemp("scans") / "a.nii.gz"
    noise = np.random.default_rng(0).normal(0, 3000, (60, 52, 40))
    nib.save(nib.Nifti1Image(gaussian_filter(noise, 2).astype(np.float32), TILTED), path)
    return path


@pytest.mark.slow
def test_monai_alone_gives_the_masks_of_predict(run, scan, tmp_path):
    write(run, tmp_path / "bundle")
    done = subprocess.run(
        [sys.executable, "-c", ALONE.format(absent=ABSENT), "run",
         "--config_file", CONFIG, "--bundle_root", ".", "--dataset_dir", scan.parent,
         "--output_dir", tmp_path / "masks"],
        cwd=tmp_path / "bundle", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    image = nib.load(tmp_path / "masks" / "a_seg.nii.gz")
    labels = np.asanyarray(image.dataobj)
    with pytest.warns(UserWarning, match="tilted"):
        expected = Predictor(run, device="cpu").segment(scan).labels
    np.testing.assert_allclose(image.affine, TILTED, atol=1e-5)
    assert labels.dtype == np.uint8
    assert (labels == expected).mean() > 0.9999
    for label in np.unique(expected):
        one, other = labels == label, expected == label
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.999
    write(run, tmp_path / "bundle")  # again: it replaces its own files


@pytest.mark.filterwarnings("ignore:NvImgCodec")  # a reader of DICOM that MONAI looks for
@pytest.mark.parametrize(
    "changes",
    [
        {"grid": Grid(spacing_mm=(7.0, 8.0, 9.0))},
        {"grid": Grid(spacing_mm=(2.0, 2.0, 5.0)), "windowed": "before"},
        {"grid": Grid(shape=(40, 24, 20)), "scaling": "volume"},
        {"grid": Grid(shrink=(2, 2, 1)), "scaling": "volume", "windowed": "before"},
    ],
)
def test_the_image_of_the_network_is_that_of_preparation(run, scan, changes):
    model = open_model(run, device=torch.device("cpu"))
    spec = model.spec.model_copy(update=changes)
    parser = ConfigParser(inference_config(dataclasses.replace(model, spec=spec)))
    grid = parser.get_parsed_content("preprocessing")({"image": str(scan)})["grid"]
    expected = to_grid(read_volume(scan), spec).voxels
    assert tuple(grid.shape) == (1, *expected.shape)
    assert 0 <= float(grid.min()) < float(grid.max()) <= 1
    np.testing.assert_allclose(grid[0].numpy(), expected, atol=3e-5)  # 2 of 65535 levels


def test_the_window_is_that_of_the_run(run):
    model = open_model(run, device=torch.device("cpu"))
    inferer = ConfigParser(inference_config(model)).get_parsed_content("inferer")
    assert inferer.roi_size == list(model.window.patch)
    image = torch.rand(1, 1, 21, 10, 9)

    def network(patches):
        """Probabilities that depend on the place within a window."""
        ramp = torch.linspace(0.1, 0.9, patches.shape[2])[:, None, None] * patches
        return torch.cat([ramp, 1 - ramp], dim=1)

    class Logits(torch.nn.Module):
        def forward(self, patches):
            logits = network(patches).log()
            return dataclasses.make_dataclass("Output", ["logits"])(logits)

    expected = model.window.probabilities(Logits(), image[0, 0])
    torch.testing.assert_close(inferer(image, network)[0], expected)


def test_the_metadata_have_the_keys_that_monai_s_schema_requires(run, tmp_path):
    metadata = write(run, tmp_path / "model.zip")
    assert {"schema", "version", "monai_version", "pytorch_version", "numpy_version", "task",
            "required_packages_version", "description", "authors", "copyright",
            "network_data_format"} <= metadata.keys()  # fmt: skip
    io = metadata["network_data_format"]
    for tensor in (io["inputs"]["image"], io["outputs"]["pred"]):
        assert {"type", "format", "num_channels", "spatial_shape", "dtype",
                "value_range"} <= tensor.keys()  # fmt: skip
    json.dumps(metadata)


def test_a_place_that_is_taken_and_a_model_without_hu_are_refused(run, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="expected a folder"):
        write(run, tmp_path / "file")
    with pytest.raises(FileExistsError, match="holds something else"):
        write(run, tmp_path)
    with pytest.raises(ValueError, match=r"ends in \.zip; \.onnx writes the network alone"):
        write(run, tmp_path / "model.tar")
    model = open_model(run, device=torch.device("cpu"))
    stored = model.spec.model_copy(update={"scaling": "stored"})
    with pytest.raises(ValueError, match="intensity scaling is unknown"):
        inference_config(dataclasses.replace(model, spec=stored))
