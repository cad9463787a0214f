"""A trained model: network, configuration and data set, ready to predict."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from knowledge.common.suggest import unknown
from pipeline.config.recipe import RunConfig
from segmentation.data.descriptor import DatasetSpec
from segmentation.inference.sliding_window import SlidingWindow, Tick
from segmentation.methods.base.method import Method


def sliding_window(config: RunConfig, *, validation: bool = False) -> SlidingWindow:
    """The sliding window of a run, as large as its patches; validation has its own overlap."""
    inference = config.inference
    overlap = inference.validation_overlap if validation else inference.overlap
    patch = config.training.patch
    return SlidingWindow(patch, overlap, inference.windows_per_call, inference.blend)


@dataclass(frozen=True)
class TrainedModel:
    """A trained model loaded from a checkpoint or a bundle; `open_model` opens one.

    Attributes:
        step: completed steps of the checkpoint.
        predictor: name of the network that predicts.
        data: digest of the data that it was trained on (`protocols.data_digest`), if known.
        trained_on: protocol and split of these data, as in `ProtocolLabel.words`.
        training_cases: labeled and unlabeled training cases, as `protocols.case_marks`.
    """

    config: RunConfig
    spec: DatasetSpec
    network: torch.nn.Module
    device: torch.device
    step: int
    predictor: str
    checkpoint: Path
    data: str | None = None
    trained_on: str = ""
    training_cases: frozenset[str] = frozenset()

    @property
    def window(self) -> SlidingWindow:
        """The sliding window in which the network predicts."""
        return sliding_window(self.config)

    def planes(self, image: torch.Tensor, tick: Tick | None = None) -> Iterator[torch.Tensor]:
        """Class probabilities of an image [x, y, z] on the network's grid, plane by plane."""
        return self.window.planes(self.network, image.to(self.device).float(), tick)

    def classify(self, image: torch.Tensor) -> torch.Tensor:
        """Image [x, y, z] on the network's grid to class probabilities [C, x, y, z]."""
        return torch.stack(list(self.planes(image)), dim=1)


def training_label(metadata: Mapping[str, Any], spec: DatasetSpec) -> str:
    """Protocol and split of the training data, from the metadata of a checkpoint or bundle.

    Without them the training cases are unknown, so that the name of the protocol alone is refused.
    """
    return str(metadata.get("trained_on", f"{spec.protocol}, unknown training cases"))


def choose_predictor(method: Method, name: str | None) -> str:
    """The name of the network that predicts: the method's first unless one is given.

    Raises:
        LookupError: no predictor of that name.
    """
    known = method.predictors()
    if name is None:
        return next(iter(known))
    if name not in known:
        raise LookupError(unknown("predictor", name, tuple(known)))
    return name
