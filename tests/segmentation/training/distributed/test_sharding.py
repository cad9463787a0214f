"""Two processes with half a batch each learn what one process learns from the whole batch."""

import pytest
import torch
from torch import nn

from pipeline.config.registry import names
from segmentation.training.distributed.sharding import Sharding
from tests.support.ranks import run_ranks

# As the recipes have them: TAK's with text and instance norm, the others with batch norm.
VARIANTS = [
    f"{name}:{kind}"
    for name in names("segmentation.methods")
    for kind in ("text:instance:0", "conv:batch:0.5")
]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Folders of what one and two processes learned, a file per variant."""
    folders = {}
    for size in (1, 2):
        folders[size] = tmp_path_factory.mktemp("ranks")
        run_ranks(["tests.support.rank_steps", folders[size], *VARIANTS], size)
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_processes_with_half_a_batch_equal_one_with_the_whole(learned, variant):
    name = f"{variant.replace(':', '-')}.pt"
    (terms, state), (others, weights) = (torch.load(learned[size] / name) for size in (1, 2))
    for step, (one, two) in enumerate(zip(terms, others, strict=True)):
        assert two == pytest.approx(one, rel=1e-9, abs=1e-9), f"step {step}"
    for key, value in state.items():
        torch.testing.assert_close(weights[key], value, rtol=1e-9, atol=1e-9, msg=key)


def test_shares_cover_a_batch_once_and_repeat_its_last_patch():
    shares = [Sharding(nn.Module(), rank, 3).indices(4).tolist() for rank in range(3)]
    assert shares == [[0, 1], [2, 3], [3, 3]]
    assert [Sharding(nn.Module(), rank, 3).valid(4) for rank in range(3)] == [2, 2, 0]
