"""Experiment trackers: TensorBoard, Weights & Biases, MLflow.

The last two are extras; each is imported only where it is used.
"""

import json
import os
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.common.files import write_text

PROJECT = "tak-seg"
IDENTIFIERS = "tracking.json"  # in the run's folder: the run's identifiers in the services

Picture = NDArray[np.uint8]  # [row, column, RGB]


class Tracker(ABC):
    """Base of trackers: curves and pictures over steps.

    Args:
        folder: folder of the run; its name is the name of the run.
        config: the run's configuration as plain values.
        step: completed steps; a resumed tracker continues there.
    """

    @abstractmethod
    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None: ...

    @abstractmethod
    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add one value to each named curve."""

    @abstractmethod
    def picture(self, name: str, picture: Picture, step: int) -> None:
        """Add a picture under a name."""

    @abstractmethod
    def close(self) -> None:
        """Write everything that is still buffered, and end the run in the tracker."""


class TensorBoard(Tracker):
    """Event files in the run's folder; a resume drops the later steps of the interrupted run.

    The package writes in a thread. A fault of that thread, such as a full disk, is raised by the
    next call or by `close`, and not printed by the thread as well.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._fault: BaseException | None = None
        self._hook = threading.excepthook
        threading.excepthook = self._remember
        self._events = SummaryWriter(str(folder), purge_step=step + 1)

    def _remember(self, end: threading.ExceptHookArgs) -> None:
        if type(end.thread).__module__.startswith("tensorboard."):
            self._fault = end.exc_value
            threading.excepthook = self._hook
        else:
            self._hook(end)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One tag per name."""
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def picture(self, name: str, picture: Picture, step: int) -> None:
        """An image of the tab of images."""
        self._events.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the event file."""
        try:
            self._events.close()
        finally:
            threading.excepthook = self._hook
        if self._fault is not None:
            raise self._fault


class WandB(Tracker):
    """A run of Weights & Biases, configured by its environment variables (WANDB_MODE=offline ...).

    The project is WANDB_PROJECT, `tak-seg` by default.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        import wandb

        self._wandb = wandb
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=folder.name,
            dir=str(folder),
            id=_stored_id(folder, "wandb") or _store_id(folder, "wandb", uuid.uuid4().hex[:12]),
            resume="allow",
            config=dict(config),
            settings=wandb.Settings(console="off"),
        )
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One metric per name, drawn over the run's own steps."""
        self._run.log({**values, "step": step})

    def picture(self, name: str, picture: Picture, step: int) -> None:
        """An image of the run's media."""
        self._run.log({name: self._wandb.Image(picture), "step": step})

    def close(self) -> None:
        """Finish the run; online, this waits for the upload."""
        self._run.finish()


class MLflow(Tracker):
    """A run of MLflow at MLFLOW_TRACKING_URI, or at MLflow's default location.

    The experiment is MLFLOW_EXPERIMENT_NAME, `tak-seg` by default.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        import mlflow

        self._mlflow = mlflow
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
        run = mlflow.start_run(run_id=_stored_id(folder, "mlflow"), run_name=folder.name)
        _store_id(folder, "mlflow", run.info.run_id)
        mlflow.log_params(_flat(config))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One metric per name."""
        self._mlflow.log_metrics(dict(values), step=step)

    def picture(self, name: str, picture: Picture, step: int) -> None:
        """A PNG among the artifacts, named by step."""
        self._mlflow.log_image(picture, artifact_file=f"{name}/{step:08}.png")

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


def trackers_of(*, wandb: bool, mlflow: bool) -> list[type[Tracker]]:
    """TensorBoard and the requested trackers.

    Raises:
        ValueError: a package is not installed; names the command that installs it.
    """
    trackers: list[type[Tracker]] = [TensorBoard]
    for name, requested, kind in (("wandb", wandb, WandB), ("mlflow", mlflow, MLflow)):
        if requested and find_spec(name) is None:
            raise ValueError(f"--{name}: {name} is not installed; pip install 'tak-seg[{name}]'")
        if requested:
            trackers.append(kind)
    return trackers


def _stored_id(folder: Path, service: str) -> str | None:
    """The identifier of this run in a service, None if it is new; a resume continues that run."""
    path = folder / IDENTIFIERS
    return json.loads(path.read_text(encoding="utf-8")).get(service) if path.is_file() else None


def _store_id(folder: Path, service: str, name: str) -> str:
    path = folder / IDENTIFIERS
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_text(path, json.dumps({**known, service: name}) + "\n")
    return name


def _flat(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested tables flattened to dotted names."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= (
            _flat(value, f"{before}{key}.")
            if isinstance(value, Mapping)
            else {f"{before}{key}": value}
        )
    return flat
