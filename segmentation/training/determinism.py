"""Training that gives the same bits again on a GPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Let torch take deterministic algorithms alone, which may be slower, and refuse any other.

    A CPU needs none of this. URPC is refused on a GPU: it enlarges coarse guesses, whose gradient
    torch has in no deterministic form. cuBLAS reads its variable at the first product of the
    process, so a product before this leaves it without effect, which torch then says.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
