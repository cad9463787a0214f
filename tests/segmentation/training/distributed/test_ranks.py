"""The processes of one training: without `torchrun` one, with it what it says."""

import pytest
import torch
from torch import nn

from segmentation.training.distributed.ranks import (
    ProcessDied,
    Ranks,
    copy_of_buffers,
    explain_death,
    joined,
    local_device,
    restore_buffers,
)
from tests.support.small_parts import batch


def test_one_process_alone_exchanges_nothing(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    patches = batch()
    with joined(torch.device("cpu")) as ranks, ranks.passes():
        assert ranks == Ranks()
        assert ranks.gather(patches) is patches
        assert ranks.largest(15) == 15
        assert ranks.collect("score") == ["score"]


def test_a_lost_connection_is_one_line_and_other_errors_stay():
    one_line = pytest.raises(ProcessDied, match="another process of this training has ended")
    with one_line, explain_death():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shapes"), explain_death():
        raise RuntimeError("shapes do not fit")


def test_statistics_of_an_unfinished_step_are_undone():
    norm = nn.BatchNorm3d(2)
    before = copy_of_buffers(norm)
    norm(torch.rand(2, 2, 4, 4, 4))
    restore_buffers(norm, before)
    assert all(torch.equal(value, before[name]) for name, value in norm.named_buffers())


def test_devices_that_several_processes_cannot_share_are_refused(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert local_device(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(ValueError, match="train on CUDA or CPU, not on mps"):
        local_device(torch.device("mps"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="process 2 of this machine has no GPU; there are 1"):
        local_device(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert local_device(torch.device("cuda")) == torch.device("cuda:1")
