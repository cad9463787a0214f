"""Open a trained model from a run's folder, a checkpoint file or a bundle."""

from pathlib import Path

import torch

from knowledge.common.models import checked
from knowledge.common.suggest import unknown
from pipeline.config.recipe import RunConfig
from pipeline.files.kinds import require_kind
from pipeline.runs.build import RunInputs, build_method
from pipeline.runs.bundles import reading
from pipeline.runs.folder import RunFolder
from pipeline.runs.trained_model import TrainedModel, choose_predictor, training_label
from segmentation.data.descriptor import DatasetSpec
from segmentation.networks.network import text_vectors
from segmentation.training.checkpoint import TrainState, load, load_weights

_PARTS = {"run", "dataset", "vectors"}  # of the configuration in a checkpoint


def open_model(
    path: Path,
    *,
    checkpoint: str = "best",
    predictor: str | None = None,
    device: torch.device,
    untrained: bool = False,
) -> TrainedModel:
    """Open a trained model for prediction.

    Args:
        path: a run's folder, a checkpoint file or a bundle.
        checkpoint: `best` or `last`, where `path` is a folder.
        predictor: name of a network; the default of the recipe or method if None.
        untrained: the network before the first step, for comparison; not for bundles.

    Raises:
        FileNotFoundError, ValueError: no readable model there, or an untrained network of a
            bundle.
        LookupError: no predictor of that name.
    """
    require_kind(path, "run", "checkpoint", "bundle")
    if path.suffix.lower() != ".zip":
        return _from_checkpoint(_checkpoint_file(path, checkpoint), predictor, device, untrained)
    if untrained:
        raise ValueError(f"{path}: a bundle holds no untrained network; give the run's folder")
    model = reading.read(path, device)
    if predictor not in (None, model.predictor):
        raise LookupError(unknown("predictor", predictor, (model.predictor,), f"in {path}"))
    return model


def _checkpoint_file(path: Path, checkpoint: str) -> Path:
    folder = RunFolder(path)
    file = folder.checkpoint(checkpoint) if path.is_dir() else path
    if not file.exists() and folder.last.is_file():
        raise FileNotFoundError(
            f"{file}: no checkpoint there, because the run was not validated yet; "
            "--checkpoint last opens its last state"
        )
    return file


def _from_checkpoint(
    file: Path, predictor: str | None, device: torch.device, untrained: bool
) -> TrainedModel:
    state = load(file)
    if not isinstance(state.config, dict) or not state.config.keys() >= _PARTS:
        raise ValueError(f"{file}: not a checkpoint of a run, its configuration is damaged")
    config = checked(state.config["run"], RunConfig, file)
    spec = DatasetSpec.check(state.config["dataset"], file)
    inputs = RunInputs.for_prediction(state.identity.classes, _vectors(state, file))
    method = build_method(config, inputs)
    if not untrained:
        load_weights(method, state.method, file)
    name = choose_predictor(method, predictor or config.inference.predictor)
    return TrainedModel(
        config,
        spec,
        method.predictors()[name].to(device).eval(),
        device,
        step=0 if untrained else state.step,
        predictor=name,
        checkpoint=file,
        data=state.identity.data,
        trained_on=training_label(state.config, spec),
        training_cases=frozenset(state.config.get("training_cases", ())),
    )


def _vectors(state: TrainState, file: Path) -> torch.Tensor | None:
    """The text vectors of a checkpoint, of the shape in its metadata."""
    shape = state.config["vectors"]
    if shape is None:
        return None
    vectors = text_vectors(state.method)
    if vectors is None or list(vectors.shape) != list(shape):
        raise ValueError(f"{file}: the text vectors {list(shape)} are missing; the file is damaged")
    return vectors
