"""The weights of a network, told from others by a digest."""

import hashlib
from collections.abc import Iterable

import torch
from torch import nn


def digest_of_weights(network: nn.Module, without: Iterable[str] = ()) -> str:
    """The sha256 of all parameters: their types, shapes and values, but not their names or order.

    Names change with the version of the library that builds the network; values do not. Those
    `without` are left out.
    """
    parts = []
    left_out = set(without)
    for name, weight in network.named_parameters():
        if name in left_out:
            continue
        values = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        part = hashlib.sha256(f"{weight.dtype} {tuple(weight.shape)}".encode())
        part.update(values.numpy().tobytes())
        parts.append(part.hexdigest())
    return hashlib.sha256("".join(sorted(parts)).encode()).hexdigest()
