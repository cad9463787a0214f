"""A trained model: network, configuration and data set, ready to predict."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.config.recipe import RunConfig
from segmentation.data.descriptor import DatasetSpec
from segmentation.inference.prediction import probabilities
from segmentation.inference.sliding_window import Overlap
from segmentation.methods.base.method import Method


def classify_image(
    network: torch.nn.Module, image: torch.Tensor, config: RunConfig, overlap: Overlap
) -> torch.Tensor:
    """Image [x, y, z] to class probabilities [C, x, y, z], in windows as large as the patches."""
    inference = config.inference
    return probabilities(
        network,
        image.float(),
        patch=config.training.patch,
        overlap=overlap,
        windows_per_call=inference.windows_per_call,
        blend=inference.blend,
    )


@dataclass(frozen=True)
class TrainedModel:
    """A trained model loaded from a checkpoint or a bundle; `open_model` opens one.

    Attributes:
        step: completed steps of the checkpoint.
        predictor: name of the network that predicts.
        data: digest of the data that it was trained on (`protocols.data_digest`), if known.
        trained_on: protocol and split of these data, as `Claim.words` has them.
        training_cases: what it learned from, labeled or not, as `protocols.case_marks`.
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

    def classify(self, image: torch.Tensor) -> torch.Tensor:
        """Image [x, y, z] on the network's grid to class probabilities [C, x, y, z]."""
        overlap = self.config.inference.overlap
        return classify_image(self.network, image.to(self.device), self.config, overlap)


def training_label(metadata: Mapping[str, Any], spec: DatasetSpec) -> str:
    """Protocol and split of the training data, as a checkpoint's or bundle's metadata name them.

    Metadata without them may belong to any cases, so that the protocol's bare name is not given.
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
        raise LookupError(f"no predictor {name!r}; there is {', '.join(known)}")
    return name
