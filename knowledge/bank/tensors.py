"""Import and export of the bare tensors that published code reads (`.pth`)."""

import io
import zipfile
from pathlib import Path

import numpy as np
import torch

from knowledge.bank.bank import Bank
from knowledge.bank.items import MAX_BYTES, printable
from knowledge.common.files import write_whole
from knowledge.common.suggest import unknown

DTYPES = {"float32": torch.float32, "float16": torch.float16}


def import_tensor(path: Path, classes: tuple[str, ...], aspects: tuple[str, ...]) -> Bank:
    """A bank from a tensor [A * C, E]: rows are all classes of the first aspect, then the next.

    TAK's `amos_embedding_shape_location.pth` has the aspects shape, position and the 16 classes
    of AMOS; the Universal Model's `txt_encoding.pth` one aspect and 32 classes. Texts, encoder
    and fingerprint are unknown. Read on the CPU, and never as arbitrary pickled code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a tensor of finite numbers, too large, damaged, or its rows do not fit the
            classes and aspects.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    tensor = _load(path)
    shape = (len(aspects), len(classes))
    if len(tensor) != shape[0] * shape[1]:
        raise ValueError(
            f"{path} has {len(tensor)} rows; {shape[1]} classes with {shape[0]} aspects "
            f"({', '.join(aspects)}) need {shape[0] * shape[1]}"
        )
    blocks = tensor.float().numpy().reshape(*shape, -1)
    return Bank(
        classes=classes,
        aspects=aspects,
        vectors=np.ascontiguousarray(blocks.transpose(1, 0, 2)),
        texts=(("",) * shape[0],) * shape[1],
        token_counts=np.zeros(shape[::-1], np.int32),
        encoder="unknown",
        fingerprint=np.zeros((0, blocks.shape[2]), np.float32),
        long_text="unknown",
        origin={"kind": "imported", "file": path.name, "dtype": str(tensor.dtype)},
    )


def _load(path: Path) -> torch.Tensor:
    """The one dense tensor [rows, width] of finite floats in a file."""
    _require_small(path)
    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's words are left out: they advise to load the file in a way that executes it.
        raise ValueError(
            f"{path} is not a file of plain tensors, but another kind of file or a damaged one"
        ) from error
    if not isinstance(tensor, torch.Tensor) or tensor.ndim != 2:
        content = (
            f"a tensor of shape {printable(tuple(tensor.shape), 80)}"
            if torch.is_tensor(tensor)
            else "no tensor"
        )
        raise ValueError(f"{path} must hold one tensor [rows, width]; it holds {content}")
    dense = tensor.layout == torch.strided and not tensor.is_quantized
    if not dense or tensor.device.type != "cpu" or not tensor.is_floating_point():
        raise ValueError(
            f"{path}: expected a dense tensor of floating-point numbers, got {tensor.dtype}, "
            f"{tensor.layout}, on {tensor.device.type}"
        )
    # A tensor may declare more elements than it stores (strides of zero).
    if tensor.numel() * 4 > MAX_BYTES:
        shape = printable(tuple(tensor.shape), 80)
        raise ValueError(f"{path}: shape {shape} takes more than {MAX_BYTES >> 20} MiB")
    values = tensor.float()
    if not values.isfinite().all():
        raise ValueError(f"{path}: vectors must be finite, but some are NaN or infinite")
    return tensor


def _require_small(path: Path) -> None:
    """Refuse an archive whose records unpack to more than a tensor may hold."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(record.file_size for record in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        size = path.stat().st_size  # the format of torch before 1.6, or no archive at all
    if size > 2 * MAX_BYTES:
        raise ValueError(f"{path} takes more than {MAX_BYTES >> 19} MiB")


def export_tensor(
    bank: Bank,
    path: Path,
    *,
    classes: tuple[str, ...] | None = None,
    aspects: tuple[str, ...] | None = None,
    dtype: str = "float32",
) -> tuple[int, int]:
    """Write a tensor [A * C, E], rows as in `import_tensor`, and return its shape.

    Raises:
        LookupError: no such class, aspect or dtype.
    """
    if dtype not in DTYPES:
        raise LookupError(unknown("dtype", dtype, tuple(DTYPES)))
    chosen = bank.select(classes or bank.classes, aspects)
    rows = np.ascontiguousarray(chosen.transpose(1, 0, 2)).reshape(-1, bank.width)
    buffer = io.BytesIO()
    torch.save(torch.from_numpy(rows).to(DTYPES[dtype]), buffer)
    write_whole(path, buffer.getvalue())
    return rows.shape[0], rows.shape[1]
