"""Steps and predictions on a GPU that is only pretended: torch follows devices without computing.

Nothing is calculated, so no number is tested; but a tensor that was left on the host meets one on
the GPU and fails here as it would there. Gradients need a real device, and are not followed.
"""

from contextlib import nullcontext

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.config.registry import names
from segmentation.inference.sliding_window import SlidingWindow
from segmentation.losses import GA
from segmentation.methods.base.method import Batch
from segmentation.networks.heads.base import generated
from tests.segmentation.training.test_no_sync import claims
from tests.support.small_parts import LATE, batch, make_tiny

GPU = torch.device("cuda:0")
# SS-Net looks for the direction that changes its guess most, which takes a gradient.
METHODS = sorted(set(names("segmentation.methods")) - {"ss_net"})


class HostGenerator(torch.Generator):
    """Draws on the host and says that it is on the GPU."""

    device = GPU

    def __new__(cls, device=None):
        return super().__new__(cls, "cpu")


@pytest.fixture
def gpu(monkeypatch):
    """A mode in which tensors can be on a GPU; nothing is drawn or compiled there."""
    monkeypatch.setattr(torch, "Generator", HostGenerator)
    monkeypatch.setattr(torch.random, "fork_rng", lambda **_: nullcontext())
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(generated, "_triton_works", lambda *_: False)
    with FakeTensorMode() as mode, torch.no_grad():
        yield mode


class NoUploads(TorchDispatchMode):
    """Fails where something is copied from the host: the host waits for such a copy."""

    def __torch_dispatch__(self, function, kinds, inputs=(), options=None):
        result = function(*inputs, **(options or {}))
        sources = [part for part in inputs if isinstance(part, torch.Tensor)]
        if (
            function._schema.name in ("aten::_to_copy", "aten::copy_")
            and result.device == GPU
            and any(source.device.type == "cpu" for source in sources)
        ):
            raise AssertionError(f"{list(result.shape)} is copied from the host")
        return result


def moved(module):
    """The module with empty weights and buffers on the GPU."""
    for part in module.modules():
        for kept in (part._parameters, part._buffers):
            for name, tensor in kept.items():
                if tensor is not None:
                    kept[name] = like(tensor)
    return module


def like(tensor):
    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device=GPU)
    return torch.nn.Parameter(empty) if isinstance(tensor, torch.nn.Parameter) else empty


def placed(data):
    """A batch of the same shapes on the GPU."""
    return Batch(like(data.image), like(data.label), like(data.unlabeled))


@pytest.fixture
def made(request):
    """Method and batch; made before anything is pretended."""
    return make_tiny(request.param, GA(), text=True, claims=claims()), batch()


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize("made", METHODS, indirect=True)
def test_a_step_stays_on_its_device(made, gpu, precision):
    method, data = moved(made[0]), placed(made[1])
    with torch.autocast("cuda", precision, enabled=precision is not None), NoUploads():
        terms = method(data, LATE)
    method.after_step(LATE)
    assert {term.device for term in terms.values()} == {GPU}
    assert {term.dtype for term in terms.values()} == {torch.float32}


@pytest.mark.parametrize("made", ["magicnet"], indirect=True)
def test_a_tensor_left_on_the_host_is_found(made, gpu):
    method, data = moved(made[0]), placed(made[1])
    method.organ_counts = torch.empty(method.organ_counts.shape)
    with pytest.raises(RuntimeError, match="same device"):
        method(data, LATE)


@pytest.mark.parametrize("made", ["magicnet"], indirect=True)
def test_windows_stay_on_their_device(made, gpu, monkeypatch):
    # The map of weights is made on the host, once per scan.
    weights = "segmentation.inference.sliding_window.importance_map"
    monkeypatch.setattr(weights, lambda sides, _: torch.empty(sides, device=GPU))
    network = moved(made[0].network)
    image = torch.empty(24, 20, 30, device=GPU)
    planes = list(SlidingWindow((16, 16, 16)).planes(network, image))
    assert {plane.device for plane in planes} == {GPU}
    assert len(planes) == 24
