"""First weights of a new run from another run, a bundle or published weights (`--init-from`)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.runs.folder import RunFolder
from pipeline.runs.open_model import open_model
from pipeline.runs.starting.released_checkpoint import read_published
from segmentation.networks.released import renamed
from segmentation.training.checkpoint import read_tensors
from segmentation.training.transfer import first_network, start_from


@dataclass(frozen=True)
class Trained:
    """Weights to start from.

    Attributes:
        classes: class names of the trained network; empty if unknown.
        file: the checkpoint, bundle or file of weights.
    """

    weights: Mapping[str, Tensor]
    classes: tuple[str, ...]
    file: Path


def initialize(method: nn.Module, source: Path, classes: Sequence[str]) -> dict[str, Any]:
    """Put trained weights into the networks of a method, and return the record of it.

    Args:
        source: a run's folder (its best checkpoint), a checkpoint, a bundle, or weights of the
            released code.
        classes: names of the method's classes, background first.

    Raises:
        FileNotFoundError, ValueError: no readable weights there, or none that fit.
    """
    trained = _read(source)
    try:
        done, kept = start_from(method, trained.weights, classes, trained.classes)
    except ValueError as fault:
        raise ValueError(f"{source}: {fault}; a recipe with the same network fits") from None
    return {
        "source": str(source.absolute()),  # a download is a link to a file without a suffix
        "file": trained.file.name,
        "sha256": hashlib.sha256(trained.file.read_bytes()).hexdigest(),
        "classes": list(trained.classes),
        "taken": list(done.taken),
        "rows": {name: list(rows) for name, rows in done.rows.items()},
        "left": dict(done.left),
        "unused": list(done.unused),
        "networks_kept": kept,
    }


def in_words(record: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """A record of `initialize` in a few lines."""
    total = len(record["taken"]) + len(record["rows"]) + len(record["left"])
    lines = [f"{record['source']}: {len(record['taken'])} of {total} weights taken"]
    for name, rows in record["rows"].items():
        new = [label for label in classes if label not in rows]
        lines.append(f"{name}: {len(rows)} of {len(classes)} classes by name; new: {_listed(new)}")
    reasons: dict[str, list[str]] = {}
    for name, reason in record["left"].items():
        reasons.setdefault(reason, []).append(name)
    lines += [f"not taken ({reason}): {_listed(names)}" for reason, names in reasons.items()]
    if record["networks_kept"]:
        lines.append(f"{record['networks_kept']} further trained network(s) keep first values")
    return lines


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return (", ".join(names[:4]) or "none") + more


def _read(source: Path) -> Trained:
    file = RunFolder(source).best if source.is_dir() else source
    if source.is_file() and source.suffix.lower() != ".zip" and not _of_a_run(source):
        return Trained(renamed(read_published(source)), (), source)
    model = open_model(source, device=torch.device("cpu"))
    network = first_network(model.network)
    if network is None:
        raise ValueError(f"{source}: {type(model.network).__name__} is no network with a head")
    return Trained(network.state_dict(), tuple(model.spec.classes), file)


def _of_a_run(path: Path) -> bool:
    """Whether a file of tensors is a checkpoint of tak-seg."""
    try:
        content = read_tensors(path)
    except (OSError, ValueError):  # `read_published` says what is wrong
        return False
    return isinstance(content, dict) and "format_version" in content


def differences_from(record: Mapping[str, Any]) -> str | None:
    """Why the source of a record cannot be taken again; None if it is unchanged."""
    source = Path(str(record["source"]))
    file = source / str(record["file"]) if source.is_dir() else source
    if not file.is_file():
        return f"the weights that it started from are gone: {file}"
    if hashlib.sha256(file.read_bytes()).hexdigest() != record["sha256"]:
        return f"the weights that it started from have changed: {file}"
    return None
