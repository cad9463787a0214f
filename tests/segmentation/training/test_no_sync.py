"""A step never waits for the device: no operation in it needs a value on the host."""

import warnings

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.config.registry import names
from segmentation.losses import GA
from segmentation.networks.alignments import contrast as source
from segmentation.relations import ClaimFilter, Relation, RelationLoss
from tests.support.small_parts import LATE, batch, make_tiny

_WAITING = {  # their result, or its shape, is known only when the device has got there
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::bincount",
    "aten::equal",
    "aten::is_nonzero",
    "aten::repeat_interleave.Tensor",
}
METHODS = names("segmentation.methods")


def claims():
    """Relations as a loss and as a filter, along all axes."""
    relations = [Relation(1, 2, 0), Relation(3, 1, 1), Relation(2, 3, 2, allowed=0.05)]
    options = {"threshold": 0.0, "least": 1.0}
    return {
        "relations": RelationLoss(relations, **options),
        "claim_filter": ClaimFilter(relations, share=0.5, **options),
    }


class Refusing(TorchDispatchMode):
    """Fails at an operation that would make the host wait for a GPU."""

    def __torch_dispatch__(self, function, kinds, inputs=(), options=None):
        name = function._schema.name
        masks = (part for part in _flat(inputs) if isinstance(part, torch.Tensor))
        by_mask = name.startswith("aten::index") and any(
            part.dtype in (torch.bool, torch.uint8) for part in list(masks)[1:]
        )
        if name in _WAITING or f"{name}.{function._overloadname}" in _WAITING or by_mask:
            raise AssertionError(f"{name} waits for the device")
        return function(*inputs, **(options or {}))


def _flat(parts):
    for part in parts:
        if isinstance(part, list | tuple):
            yield from _flat(part)
        else:
            yield part


def learn(method, data, step):
    torch.stack(list(method(data, step).values())).sum().backward()
    method.after_step(step)


@pytest.mark.parametrize(
    "wait",
    [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: x.nonzero(), lambda x: x.unique()],
    ids=["item", "mask", "nonzero", "unique"],
)
def test_what_waits_is_found(wait):
    with Refusing(), pytest.raises(AssertionError, match="waits"):
        wait(torch.rand(4))


@pytest.mark.parametrize("name", METHODS)
def test_no_step_waits_for_the_device(name, monkeypatch):
    monkeypatch.setattr(source, "_counts_are_free", lambda device: False)
    method = make_tiny(name, GA(), text=True, claims=claims())
    learn(method, batch(1), LATE - 1)
    data = batch()
    with Refusing():
        learn(method, data, LATE)


def test_rows_that_nothing_fills_change_nothing(monkeypatch):
    labels = torch.randint(-1, 3, (3, 8, 8, 8))  # class 3 is absent, some voxels are ignored
    labels[0][labels[0] == 2] = 0
    features = torch.randn(3, 5, 8, 8, 8)
    found = []
    for cheap in (True, False):
        monkeypatch.setattr(source, "_counts_are_free", lambda device, cheap=cheap: cheap)
        leaf = features.clone().requires_grad_()
        generator = torch.Generator().manual_seed(0)
        rows, kinds = source.sample_rows(leaf, labels, 7, 4, generator)
        loss = source.contrast(rows, kinds)
        found.append((len(rows), loss, *torch.autograd.grad(loss, leaf)))
    assert found[1][0] == 3 * 4 * 7 > found[0][0]
    for one, other in zip(found[0][1:], found[1][1:], strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
def test_no_step_waits_for_a_gpu(name):
    method = make_tiny(name, GA(), text=True, claims=claims()).cuda()
    learn(method, batch(1).to(torch.device("cuda")), LATE - 1)
    data = batch().to(torch.device("cuda"))
    torch.cuda.synchronize()
    try:
        with warnings.catch_warnings():  # torch calls the mode a prototype
            warnings.simplefilter("ignore", UserWarning)
            torch.cuda.set_sync_debug_mode("error")
        learn(method, data, LATE)
    finally:
        torch.cuda.set_sync_debug_mode("default")
