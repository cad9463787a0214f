"""Damaged HDF5 files and checkpoints: valid containers with items of another kind."""

import io
import random
from typing import Any

import h5py
import numpy as np
import torch

from tests.reliability.damage import STRANGE_TEXT, damaged_bytes


def changed_hdf5(whole: bytes, chance: random.Random) -> bytes:
    """An HDF5 file with an item or attribute of another kind, type, shape or size."""
    if chance.random() < 0.4:
        return damaged_bytes(whole, chance, len(whole))
    buffer = io.BytesIO(whole)
    with h5py.File(buffer, "a") as file:
        names: list[str] = []
        file.visit(names.append)
        name = chance.choice(names)
        kind = chance.randrange(9)
        if kind == 0:
            del file[name]
        elif kind == 1:
            del file[name]
            file.create_group(name)
        elif kind == 2:
            del file[name]
            file.create_dataset(name, shape=(10**6,) * 3, dtype="f4", chunks=(8, 8, 8))
        elif kind == 3:
            del file[name]
            data = [np.zeros((4, 5), complex), np.zeros(3, "S5"), np.full((3, 3, 3), np.nan), 5]
            file[name] = chance.choice(data)
        elif kind == 4:
            del file[name]
            file[name] = h5py.ExternalLink("/etc/passwd", "/a")
        elif kind == 5:
            del file[name]
            file[name] = h5py.SoftLink("/" + name)
        else:
            attributes = list(file.attrs) or ["format_version"]
            key = chance.choice(attributes)
            if kind == 6:
                file.attrs.pop(key, None)
            else:
                values: list[Any] = [
                    "\u202e" + "x" * 30_000,
                    -1,
                    np.arange(5),
                    np.nan,
                    "[" * 30_000,
                ]
                file.attrs[key] = chance.choice(values)
    return buffer.getvalue()


def changed_checkpoint(whole: bytes, chance: random.Random) -> bytes:
    """A checkpoint with tensors of another kind, NaN, missing or strange values, or a pickle."""
    if chance.random() < 0.35:
        return damaged_bytes(whole, chance, len(whole))
    content = torch.load(io.BytesIO(whole), weights_only=True)
    places = _places(content)
    owner, key = chance.choice(places)
    old = owner[key]
    kind = chance.randrange(4)
    if kind == 0:
        del owner[key]
    elif isinstance(old, torch.Tensor) and kind < 3:
        owner[key] = chance.choice([
            torch.full_like(old, float("nan")) if old.is_floating_point() else old * 0 - 1,
            old.to_sparse() if old.ndim else old, torch.zeros(1), old.int(),
            old.to(torch.complex64),
            torch.zeros(1).expand(10**6, 10**6), torch.zeros(2, 3, device="meta"), "text",
        ])  # fmt: skip
    else:
        owner[key] = chance.choice(
            [None, -1, float("nan"), STRANGE_TEXT, [], {}, torch.zeros(3), 10**20, ["a"] * 9]
        )
    buffer = io.BytesIO()
    if chance.random() < 0.05:
        torch.save(_Evil(), buffer)
    else:
        torch.save(content, buffer)
    return buffer.getvalue()


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch EVIL",)


def _places(content: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    if isinstance(content, dict):
        for key, value in content.items():
            found.append((content, key))
            found += _places(value)
    return found
