"""Devices that are not here: one without float64, as MPS is, and what they cannot do, told plainly.

Meta tensors stand in for those of the device: they are not on the CPU, so the code takes the ways
that it takes on a GPU.
"""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline import Predictor
from pipeline.cli import main
from pipeline.config.registry import names
from pipeline.prediction import predictor
from pipeline.runs.devices import explain_device_errors
from segmentation.data.descriptor import DatasetSpec
from segmentation.imaging.volume import Volume, write_volume
from segmentation.inference.probability_maps import kept_probabilities
from segmentation.losses import GA
from tests.support.small_parts import make_tiny
from tests.support.small_run import make_run

ELSEWHERE = torch.device("meta")


class WithoutFloat64(TorchDispatchMode):
    """Refuses float64 on the device as MPS does; what comes back from it is zero."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, kinds, inputs=(), options=None):
        options = options or {}
        given = [part for part in tree_leaves((inputs, options)) if isinstance(part, torch.Tensor)]
        there = any(part.device == ELSEWHERE for part in given)
        self.seen.add(function._schema.name)
        if there and function._schema.name in ("aten::item", "aten::_local_scalar_dense"):
            return 0.0
        to = [part for part in tree_leaves((inputs, options)) if isinstance(part, torch.device)]
        if there and to and to[0] != ELSEWHERE:
            return torch.zeros(inputs[0].shape, dtype=inputs[0].dtype)
        made = function(*inputs, **options)
        tensors = [part for part in tree_leaves(made) if isinstance(part, torch.Tensor)]
        if any((part.device, part.dtype) == (ELSEWHERE, torch.float64) for part in tensors):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return made


@pytest.fixture(scope="module")
def spec(population) -> DatasetSpec:
    return DatasetSpec.read(population / "dataset.toml")


@pytest.fixture(scope="module")
def run(spec, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("devices") / "run", spec)


def elsewhere(run) -> Predictor:
    found = Predictor(run, device="cpu")
    network = found.opened.network.to(ELSEWHERE)
    found.opened = replace(found.opened, network=network, device=ELSEWHERE)
    return found


def test_float64_is_found_on_its_way_to_the_device_and_on_it():
    with WithoutFloat64():
        for number in (torch.zeros(3, dtype=torch.float64), torch.from_numpy(np.zeros(3))):
            with pytest.raises(TypeError, match="float64"):
                number.to(ELSEWHERE)
        with pytest.raises(TypeError, match="float64"):
            torch.zeros(3, device=ELSEWHERE).double()
        assert torch.zeros(3).to(ELSEWHERE).sum().cpu().item() == 0


@pytest.mark.parametrize("blend", ["gaussian", "constant"])
def test_a_scan_becomes_a_mask_on_a_device_without_float64(run, spec, blend, tmp_path):
    """From the scan on, with voxels in float64, to labels and probability maps."""
    found = elsewhere(run)
    inference = found.opened.config.inference.model_copy(update={"blend": blend, "overlap": 0.5})
    config = found.opened.config.model_copy(update={"inference": inference})
    found.opened = replace(found.opened, config=config)
    affine = np.diag([20.0, 25.0, 30.0, 1.0])
    scan = Volume(np.random.default_rng(0).normal(0, 200, (12, 10, 9)), affine)
    watch = WithoutFloat64()
    with watch, kept_probabilities(tmp_path / "maps", scan, spec, found.organs) as keep:
        mask = found.segment_volume(scan, keep=keep)
    assert mask.labels.shape == (12, 10, 9)
    assert len(list((tmp_path / "maps").iterdir())) == len(spec.organs)
    assert {"aten::conv3d", "aten::lerp", "aten::argmax"} <= {
        name.partition(".")[0] for name in watch.seen
    }


@pytest.mark.parametrize("name", names("segmentation.methods"))
def test_no_method_keeps_float64_that_a_device_could_not_take(name):
    method = make_tiny(name, GA(), text=True)
    kinds = {key: value.dtype for key, value in method.state_dict().items()}
    assert torch.float64 not in kinds.values(), kinds


@pytest.mark.parametrize(
    ("device", "fault", "told"),
    [
        ("mps", RuntimeError("ConvTranspose 3D is not supported on MPS"), "--device cpu"),
        (
            "mps",
            NotImplementedError(
                "The operator 'aten::max_pool3d_with_indices' is not currently implemented for the "
                "MPS device. If you want this op to be considered for addition please comment on"
            ),
            "PYTORCH_ENABLE_MPS_FALLBACK=1",
        ),
        ("mps", TypeError("Cannot convert a MPS Tensor to float64 dtype"), "on MPS"),
        ("mps", RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "too little"),
        ("cuda:1", torch.OutOfMemoryError("CUDA out of memory. Tried to"), "less is more"),
    ],
)
def test_what_a_device_cannot_do_is_one_sentence(device, fault, told):
    with (
        pytest.raises(ValueError, match=told) as seen,
        explain_device_errors(torch.device(device), "less is more"),
    ):
        raise fault
    reason = str(fault).partition(". ")[0]
    assert reason in str(seen.value)
    assert "please comment" not in str(seen.value)


@pytest.mark.parametrize("fault", [RuntimeError("a bug"), NotImplementedError("a bug")])
def test_a_bug_on_another_device_stays_one(fault):
    with pytest.raises(type(fault), match="a bug"), explain_device_errors(torch.device("cuda"), ""):
        raise fault


def test_a_scan_too_large_for_the_device_keeps_no_other_from_its_mask(
    run, tmp_path, monkeypatch, capsys
):
    real, calls = predictor.predict_scan, []

    def once_too_large(*given, **named):
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 99.00 GiB.")
        return real(*given, **named)

    monkeypatch.setattr(predictor, "predict_scan", once_too_large)
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        gray = np.random.default_rng(0).normal(0, 200, (9, 9, 9)).astype(np.int16)
        write_volume(tmp_path / f"in/{name}.nii.gz", gray, np.diag([9.0, 9, 9, 1]))
    words = ["predict", run, tmp_path / "in", "-o", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", ["tak", *map(str, words)])
    with pytest.raises(SystemExit, match="1"):
        main()
    told = capsys.readouterr().err
    assert "cpu has too little memory (CUDA out of memory); --device cpu" in told
    assert "1 of 2 scans could not be segmented" in told
    assert (tmp_path / "out/b.nii.gz").is_file()
