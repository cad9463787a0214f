"""Exported networks: `torch.export` programs and ONNX give the probabilities of the network."""

import dataclasses
import io
import json
import sys

import numpy as np
import pytest
import torch

from pipeline.runs.bundles.exporting import program_bytes, write_onnx
from pipeline.runs.open_model import open_model
from segmentation.data.descriptor import DatasetSpec
from segmentation.networks.heads.base.generated import PARAMETERS, apply_generated
from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.heads.text import TextHead
from segmentation.networks.network import Network
from segmentation.networks.vnet import VNet
from tests.support.paths import DATA
from tests.support.small_run import make_run

SPEC = DatasetSpec.read(DATA / "phantom.toml")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("export") / "run", SPEC)
    model = open_model(run, device=torch.device("cpu"))
    for parameter in model.network.head.parameters():
        parameter.data /= 3  # as drawn: logits of some units, not of thousands
    # Norms over a few voxels would magnify rounding: larger patches than those of the small run.
    training = model.config.training.model_copy(update={"patch": (32, 32, 32)})
    config = model.config.model_copy(update={"training": training})
    return dataclasses.replace(model, config=config)


def networks():
    vectors = torch.randn(5, 2, 12)
    for form in ("published", "linear"):
        head = TextHead(8, [8, 16, 32], 2, 12, form=form)
        yield form, Network(VNet(width=8, levels=3), head, vectors=vectors)
    yield "conv", Network(VNet(width=8, levels=3), ConvHead(8, 5))


@torch.no_grad()
def test_the_operators_of_an_export_compute_the_same(monkeypatch):
    """In fp64: the fused norm, the narrow convolution and the chunks have plain forms."""
    image = torch.rand(2, 1, 16, 16, 16, dtype=torch.float64)
    for name, network in networks():
        network.double().eval()
        expected = network(image).logits
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        torch.testing.assert_close(network(image).logits, expected, rtol=1e-6, atol=1e-8, msg=name)
        monkeypatch.undo()


@torch.no_grad()
def test_generated_networks_in_one_piece_are_those_in_chunks(monkeypatch):
    points, parameters = torch.randn(2, 8, 12, 11, 10), torch.randn(2, 3, PARAMETERS)
    expected = apply_generated(points, parameters)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(apply_generated(points, parameters), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_a_program_needs_no_code_of_tak_seg_and_takes_any_number_of_patches(model):
    program = torch.export.load(io.BytesIO(program_bytes(model))).module()
    for count in (1, 2, 5):
        patches = torch.rand(count, 1, *model.config.training.patch)
        with torch.no_grad():
            expected = model.network(patches).logits.softmax(1)
            found = program(patches)
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4)


@pytest.mark.slow
def test_onnx_agrees_with_torch(model, tmp_path):
    pytest.importorskip("onnxscript", reason="ONNX needs the extra onnx")
    runtime = pytest.importorskip("onnxruntime", reason="ONNX needs the extra onnx")
    write_onnx(model, tmp_path / "tak.onnx")
    session = runtime.InferenceSession(tmp_path / "tak.onnx", providers=["CPUExecutionProvider"])
    known = session.get_modelmeta().custom_metadata_map
    assert tuple(json.loads(known["classes"])) == SPEC.classes
    assert known["orientation"] == "RAS"
    program = torch.export.load(io.BytesIO(program_bytes(model))).module()
    for count in (1, 3):
        patches = torch.rand(count, 1, *model.config.training.patch)
        (found,) = session.run(["probabilities"], {"image": patches.numpy()})
        with torch.no_grad():
            expected = model.network(patches).logits.softmax(1).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4)
        np.testing.assert_allclose(found, program(patches).detach().numpy(), atol=1e-4)
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_onnx_without_its_package_is_one_line(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(OSError, match=r"pip install 'tak-seg\[onnx\]'"):
        write_onnx(model, tmp_path / "tak.onnx")
    assert not list(tmp_path.iterdir())
