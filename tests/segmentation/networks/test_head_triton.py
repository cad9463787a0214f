"""Triton's kernels of the text head against the plain one, in its interpreter and on CUDA."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from segmentation.networks.heads.base import generated
from segmentation.networks.heads.text import TextHead
from tests.support.paths import ROOT

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed here")

COMPARISON = """
import torch
from segmentation.networks import head_triton
from segmentation.networks.head_triton import PointwiseOnGPU, pack, unpack
from segmentation.networks.heads.base.generated import _triton_error, _Pointwise

torch.manual_seed(0)
for classes, voxels in ((4, 2600), (3, 100)):
    parameters = 0.4 * torch.randn(2, classes, 153)
    assert torch.equal(unpack(pack(parameters), classes), parameters)
    points, gradient = torch.randn(2, 8, voxels), torch.randn(2, classes, voxels)
    for kind, bound in ((torch.float32, 1e-5), (torch.float16, 4e-2)):
        results = []
        for function, own in ((PointwiseOnGPU, kind), (_Pointwise, torch.float32)):
            leaves = [x.to(kind).to(own).requires_grad_() for x in (points, parameters)]
            made = function.apply(*leaves)
            given = gradient.to(kind).to(own)
            results.append((made.detach(), *torch.autograd.grad(made, leaves, given)))
        for one, other in zip(*results):
            fault = float((one.float() - other).norm() / other.norm())
            assert fault < bound, (classes, kind, fault)

for kind in (torch.float32, torch.float16):
    assert _triton_error(torch.device("cpu"), kind) is None
head_triton.pack = lambda parameters: pack(parameters.flip(1))
message = _triton_error(torch.device("cpu"), torch.float32)
assert message.startswith("the logits have a relative error of")
head_triton.pack = None
assert _triton_error(torch.device("cpu"), torch.float32).startswith("TypeError")
"""


def test_kernels_give_the_plain_logits_and_gradients_in_the_interpreter_and_faults_are_found():
    done = subprocess.run(
        [sys.executable, "-c", COMPARISON], cwd=ROOT, capture_output=True, text=True,
        env={"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


COMPILATION = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from segmentation.networks import head_triton as kernels

numbers = {"voxels": "i32", "classes": "i32", "pairs": "i32"}
for kernel in (kernels._forward, kernels._backward):
    for kind, block in (("bf16", 256), ("fp32", 128)):
        fixed = {"block": block, "size": kernels._PACKED, "turns": kernels._TURNS}
        fixed = {name: value for name, value in fixed.items() if name in kernel.arg_names}
        types = numbers | dict.fromkeys(fixed, "constexpr")
        pointers = [name for name in kernel.arg_names if name not in types]
        types |= {name: "*fp32" if name in ("packed", "sums") else f"*{kind}" for name in pointers}
        source = ASTSource(fn=kernel, signature=types, constexprs=fixed)
        made = triton.compile(source, target=GPUTarget("cuda", 86, 32), options=kernels._LAUNCH)
        assert made.metadata.shared <= 99 * 1024, made.metadata.shared
"""


@pytest.mark.slow
def test_kernels_compile_for_a_laptop_gpu_and_fit_its_shared_memory(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COMPILATION], cwd=ROOT, capture_output=True, text=True,
        env={"TRITON_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1", "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_an_unknown_kernel_is_answered_with_the_known_ones():
    with pytest.raises(LookupError, match="auto, plain"):
        TextHead(4, (4, 8, 16), 2, 6, kernel="fast")


def test_a_cpu_never_asks_for_the_kernels():
    assert not generated._triton_works(torch.device("cpu"), torch.float32)


def test_kernels_that_do_not_work_are_warned_about_and_left_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(generated, "_triton_error", lambda *_: "RuntimeError: no C compiler")
    with pytest.warns(UserWarning, match="do not work on cuda:7.*no C compiler.*plain products"):
        assert not generated._triton_works(torch.device("cuda:7"), torch.float16)
    assert not generated._triton_works(torch.device("cuda:7"), torch.float16)  # said once
    generated._triton_works.cache_clear()


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("kind", "bound"), [(torch.float32, 1e-5), (torch.float16, 4e-2), (torch.bfloat16, 1e-1)]
)
@pytest.mark.parametrize("classes", [16, 5])
def test_kernels_give_the_plain_logits_and_gradients_on_a_gpu(kind, bound, classes):
    inputs = (torch.randn(2, 8, 31, 29, 23), 0.3 * torch.randn(2, classes, generated.PARAMETERS))
    gradient, results = torch.randn(2, classes, 31, 29, 23), []
    for kernel, own in (("auto", kind), ("plain", torch.float32)):
        leaves = [x.to(kind).to("cuda", own).requires_grad_() for x in inputs]
        made = generated.apply_generated(*leaves, kernel=kernel)
        given = gradient.to(kind).to("cuda", own)
        results.append((made.detach(), *torch.autograd.grad(made, leaves, given)))
    for one, other in zip(*results, strict=True):
        assert (one.float() - other).norm() < bound * other.norm()
