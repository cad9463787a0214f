"""The state of a run on disk: whole or not at all, read without executing anything."""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from segmentation.networks.network import with_current_names

FORMAT_VERSION = 2  # 1: head and alignment kept the text vectors in place of the network
READABLE = (1, 2)


@dataclass(frozen=True)
class Identity:
    """What a checkpoint belongs to; a run that differs must not load it.

    Attributes:
        classes: class names with background first.
        bank: digest of the text vectors, None without text.
        data: digest of how the data were prepared and split.
    """

    classes: tuple[str, ...]
    bank: str | None = None
    data: str | None = None


@dataclass(frozen=True)
class TrainState:
    """All that a run needs to go on as if it had never stopped.

    Randomness is a function of (seed, step), so the step stands for it.

    Attributes:
        step: completed steps.
        method, optimizer, scaler: their `state_dict()`; scaler is empty without fp16.
        best: best validation score so far, None before the first.
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
    """Write beside the target, then rename: an interrupted save leaves the old file."""
    content = {"format_version": FORMAT_VERSION, **vars(state), "identity": asdict(state.identity)}
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save(content, beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def discard_partial(folder: Path) -> None:
    """Remove what killed processes left of checkpoints; nobody else may be saving there."""
    for partial in folder.glob(".*.pt.*"):
        partial.unlink(missing_ok=True)


def load(path: Path) -> TrainState:
    """Read a checkpoint onto the CPU.

    Raises:
        FileNotFoundError: there is none.
        ValueError: not a checkpoint of this program, or of a newer version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no checkpoint there")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # torch raises what the unpickler and the archive raise
        # Its words are left out: they advise to load the file in a way that executes it.
        raise ValueError(
            f"{path}: not a readable checkpoint, but another kind of file or a damaged one"
        ) from fault
    if not isinstance(content, dict) or "format_version" not in content:
        raise ValueError(f"{path}: not a checkpoint of tak-seg")
    version = content.pop("format_version")
    if version not in READABLE:
        raise ValueError(
            f"{path}: format {version}; this program reads formats {READABLE[0]} to {READABLE[-1]}"
        )
    content["method"] = with_current_names(content["method"])
    identity = content.pop("identity")
    known = Identity(**{**identity, "classes": tuple(identity["classes"])})
    return TrainState(identity=known, **content)


def check_identity(found: Identity, wanted: Identity, path: Path) -> None:
    """Refuse a checkpoint of other classes, another bank or other data.

    Raises:
        ValueError: what differs, both sides quoted.
    """
    if found.classes != wanted.classes:
        raise ValueError(
            f"{path}: made for the classes {', '.join(found.classes)}; "
            f"this run has {', '.join(wanted.classes)}"
        )
    if found.bank != wanted.bank:
        raise ValueError(
            f"{path}: made with the text bank {str(found.bank)[:12]}; "
            f"this run has {str(wanted.bank)[:12]}"
        )
    if found.data != wanted.data:
        raise ValueError(f"{path}: made with data that were prepared or split in another way")
