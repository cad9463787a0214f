"""Weights of encoders: their digest, and files that are damaged or only pointers to weights."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

_LFS_POINTER = b"version https://git-lfs"
_LONGEST_REASON = 300


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


def require_sound_files(path: Path) -> None:
    """Refuse a weights file, or a model folder, with a damaged file or a pointer of git LFS.

    Raises:
        OSError: names the file and the remedy.
    """
    files = [path] if path.is_file() else [*path.glob("*"), *path.glob("*/*")]
    for file in sorted(each for each in files if each.is_file()):
        with file.open("rb") as opened:
            head = opened.read(len(_LFS_POINTER))
        if head == _LFS_POINTER:
            raise OSError(f"{file} is a git LFS pointer, not the file: run `git lfs pull`")
        if file.suffix == ".safetensors":
            try:
                safe_open(file, "pt")
            except SafetensorError as error:
                raise OSError(f"{file} is damaged ({error}): download it again") from error


@contextmanager
def load_errors(spec: str) -> Iterator[None]:
    """Turn whatever a library raises on damaged or foreign model files into one line."""
    try:
        yield
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = "".join(letter if letter.isprintable() else " " for letter in lines[0])
        if not isinstance(error, OSError | ValueError | RuntimeError | ImportError):
            reason = f"a damaged or foreign file ({type(error).__name__}: {reason})"
        if len(reason) > _LONGEST_REASON:
            reason = reason[:_LONGEST_REASON] + " ..."
        raise OSError(f"cannot load {spec}: {reason}") from error
