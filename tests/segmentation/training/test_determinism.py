"""The same bits again: no operation of a step lacks a deterministic form on a GPU."""

import os

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.config.registry import names
from segmentation.losses import GA, DiceCE
from segmentation.training.runtime import deterministic
from tests.support.small_parts import LATE, batch, make_tiny

_REFUSED = (  # by torch on CUDA, in its deterministic mode
    "upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_trilinear3d_backward",
    "avg_pool3d_backward", "adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward",
    "max_pool3d_with_indices_backward", "adaptive_max_pool2d_backward", "reflection_pad",
    "grid_sampler_3d_backward", "put_", "histc", "kthvalue", "median",
)  # fmt: skip

# URPC enlarges the guesses of coarse levels, whose gradient torch has in no such form.
METHODS = sorted(set(names("segmentation.methods")) - {"urpc"})


class Refusing(TorchDispatchMode):
    """Fails where torch would fail on a GPU."""

    def __torch_dispatch__(self, function, kinds, inputs=(), options=None):
        name = function._schema.name.removeprefix("aten::")
        floating = any(torch.is_tensor(part) and part.is_floating_point() for part in inputs)
        summed = name.startswith("nll_loss2d_forward") and inputs[3] != 0
        if name.startswith(_REFUSED) or summed or (name == "cumsum" and floating):
            raise AssertionError(f"{name} has no deterministic form on CUDA")
        return function(*inputs, **(options or {}))


def learn(method, data):
    torch.stack(list(method(data, LATE).values())).sum().backward()
    method.after_step(LATE)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: F.cross_entropy(x[None, :, :, :, 0], torch.zeros(1, 4, 4, dtype=torch.long)),
        lambda x: x.cumsum(0),
        lambda x: F.interpolate(x[None], scale_factor=2.0, mode="trilinear").sum().backward(),
    ],
    ids=["mean of a volume's cross-entropy", "running sum", "trilinear"],
)
def test_what_has_no_deterministic_form_is_found(operation):
    with pytest.raises(AssertionError, match="no deterministic form"), Refusing():
        operation(torch.rand(3, 4, 4, 4, requires_grad=True))


@pytest.mark.parametrize("loss", [GA, DiceCE])
@pytest.mark.parametrize("name", METHODS)
def test_every_step_but_urpcs_has_a_deterministic_form(name, loss):
    method = make_tiny(name, loss(), text=True)
    with Refusing():
        learn(method, batch())


@pytest.mark.parametrize("before", [False, True])
def test_the_mode_ends_with_the_run(monkeypatch, before):
    monkeypatch.setattr(os, "environ", {})
    torch.use_deterministic_algorithms(before)
    try:
        with deterministic(False):
            assert torch.are_deterministic_algorithms_enabled() is before
        with deterministic(True):
            assert torch.are_deterministic_algorithms_enabled()
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert torch.are_deterministic_algorithms_enabled() is before
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
def test_a_step_on_a_gpu_gives_the_same_bits_twice(name):
    found = []
    with deterministic(True):
        for _ in range(2):
            method = make_tiny(name, GA(), text=True).cuda()
            learn(method, batch().to(torch.device("cuda")))
            found.append([p.grad for p in method.parameters() if p.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
