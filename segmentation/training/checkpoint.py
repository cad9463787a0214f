"""Checkpoints: the state of a run on disk, written atomically, read without executing anything."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segmentation.common.files import replacing
from segmentation.networks.network import with_current_names

FORMAT_VERSION = 2  # 1: head and alignment kept the text vectors in place of the network
READABLE = (1, 2)


@dataclass(frozen=True)
class Identity:
    """Classes, text bank and data of a run; a checkpoint loads only where all of them agree.

    Attributes:
        classes: class names with background first.
        bank: digest of the text vectors, None without text.
        data: digest of preparation and split of the data.
    """

    classes: tuple[str, ...]
    bank: str | None = None
    data: str | None = None


@dataclass(frozen=True)
class TrainState:
    """Complete state of a run, from which it resumes exactly.

    Randomness is a function of (seed, step), so no generator state is stored.

    Attributes:
        step: completed steps.
        method, optimizer, scaler: their `state_dict()`; scaler is empty without fp16.
        best: best validation score so far, None before the first.
        identity: classes, bank and data of the run.
        config: the run's configuration as plain values.
    """

    step: int
    method: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    best: float | None
    identity: Identity
    config: dict[str, Any] = field(default_factory=dict)


def save(state: TrainState, path: Path) -> None:
    """Write a checkpoint that survives a power cut; the previous one stays until then.

    Raises:
        OSError: it cannot be written, for example on a full disk; the previous one is unchanged.
    """
    content = {"format_version": FORMAT_VERSION, **vars(state), "identity": asdict(state.identity)}
    try:
        with replacing(path) as partial:
            torch.save(content, partial)
    except OSError as fault:
        raise _not_written(path, fault.strerror or str(fault)) from fault
    except RuntimeError as fault:
        if "inline_container" not in str(fault):  # the C++ writer, which hides the system's error
            raise
        raise _not_written(path, "no space left, or above the limit of file sizes") from fault


def _not_written(path: Path, reason: str) -> OSError:
    return OSError(
        f"{path}: the checkpoint could not be written ({reason[:200]}); free some disk space and "
        "--resume (a previous checkpoint is unchanged)"
    )


def discard_partial(folder: Path) -> None:
    """Remove partial checkpoints of killed processes; no other process may be saving there."""
    for partial in folder.glob(".*.pt.*"):
        partial.unlink(missing_ok=True)


def read_tensors(path: Path) -> Any:
    """The content of a file that torch wrote, on the CPU, read without executing anything.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: not such a file, or a damaged one.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no checkpoint there")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # torch raises what the unpickler and the archive raise
        # Its message is omitted: it advises to load the file in a way that executes code.
        raise ValueError(
            f"{path}: not a readable checkpoint, but another kind of file or a damaged one"
        ) from fault


def load(path: Path) -> TrainState:
    """Read a checkpoint onto the CPU.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: not a checkpoint of this program, one of a newer version, or one with missing
            parts, non-finite, sparse or quantized weights, which it names.
    """
    content = read_tensors(path)
    if not isinstance(content, dict) or "format_version" not in content:
        raise ValueError(f"{path}: not a checkpoint of tak-seg")
    version = content.pop("format_version")
    if version not in READABLE:
        raise ValueError(
            f"{path}: format {version}; this program reads formats {READABLE[0]} to {READABLE[-1]}"
        )
    try:
        content["method"] = with_current_names(content["method"])
        identity = content.pop("identity")
        identity = Identity(**{**identity, "classes": tuple(identity["classes"])})
        state = TrainState(identity=identity, **content)
    except (KeyError, TypeError, AttributeError) as fault:
        parts = ", ".join(part.name for part in fields(TrainState))
        raise ValueError(
            f"{path}: not a complete checkpoint; expected the parts {parts} ({str(fault)[:100]})"
        ) from fault
    _check_tensors(state, path)
    return state


def _check_tensors(state: TrainState, path: Path) -> None:
    """Refuse tensors that no run of this program writes.

    Raises:
        ValueError: names the first tensor that is not dense or not finite.
    """
    for name, tensor in (*_tensors(state.method), *_tensors(state.optimizer, "optimizer.")):
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise ValueError(f"{path}: expected a dense tensor, but {name} is sparse or quantized")
        if tensor.is_meta or tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
            raise ValueError(f"{path}: {name} has fewer values than its shape {[*tensor.shape]}")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(
                f"{path}: {name} has values that are NaN or infinite; the run had diverged or the "
                "file is damaged: use an earlier checkpoint, for example best.pt"
            )


def _tensors(content: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors in nested tables, with dotted names."""
    if isinstance(content, Tensor):
        yield name.rstrip("."), content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _tensors(value, f"{name}{key}.")


def load_weights(module: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Load a module's state from a checkpoint.

    Raises:
        ValueError: weights are missing, unknown or of another shape; names the first of them.
    """
    expected = module.state_dict()
    faults = [f"no weight {name}" for name in expected if name not in state]
    faults += [f"an unknown weight {name}" for name in state if name not in expected]
    faults += [
        f"{name} of shape {list(getattr(state[name], 'shape', []))}, expected {list(value.shape)}"
        for name, value in expected.items()
        if name in state and getattr(state[name], "shape", None) != value.shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ValueError(f"{path}: the checkpoint has {', '.join(faults[:3])}{more}")
    module.load_state_dict(state)


def check_identity(actual: Identity, expected: Identity, path: Path) -> None:
    """Refuse a checkpoint of other classes, another bank or other data.

    Raises:
        ValueError: quotes both sides of the difference.
    """
    if actual.classes != expected.classes:
        raise ValueError(
            f"{path}: made for the classes {', '.join(actual.classes)}; "
            f"this run has {', '.join(expected.classes)}"
        )
    if actual.bank != expected.bank:
        raise ValueError(
            f"{path}: made with the text bank {str(actual.bank)[:12]}; "
            f"this run has {str(expected.bank)[:12]}"
        )
    if actual.data != expected.data:
        raise ValueError(f"{path}: made with data that were prepared or split in another way")
