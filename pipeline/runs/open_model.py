"""A trained model opened from a run, a checkpoint or a bundle."""

from pathlib import Path

import torch

from pipeline.files.kinds import require_kind
from pipeline.runs import bundle
from pipeline.runs.trained_model import TrainedModel, open_run


def open_model(
    path: Path,
    *,
    checkpoint: str = "best",
    predictor: str | None = None,
    device: torch.device,
    untrained: bool = False,
) -> TrainedModel:
    """A run's folder, a checkpoint file or a bundle as something that predicts.

    Raises:
        FileNotFoundError, ValueError: nothing there that can be read, or a bundle is asked for
            the network as it was before its training.
        LookupError: no predictor of that name.
    """
    require_kind(path, "run", "checkpoint", "bundle")
    if path.suffix.lower() != ".zip":
        return open_run(
            path, checkpoint=checkpoint, predictor=predictor, device=device, untrained=untrained
        )
    if untrained:
        raise ValueError(f"{path}: a bundle holds no untrained network; give the run's folder")
    opened = bundle.read(path, device)
    if predictor not in (None, opened.predictor):
        raise LookupError(f"no predictor {predictor!r} in {path}; there is {opened.predictor}")
    return opened
