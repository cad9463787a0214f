"""A run on disk, opened again for prediction, and the text that it was built with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from knowledge.common.models import checked
from pipeline.config.recipe import RunConfig
from pipeline.files.kinds import require_kind
from pipeline.runs.build import RunInputs, build_method
from segmentation.data.descriptor import DatasetSpec
from segmentation.inference.prediction import probabilities
from segmentation.inference.sliding_window import Overlap
from segmentation.methods.base.method import Method
from segmentation.training.checkpoint import TrainState, load


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
    """A trained run, ready to predict: its checkpoint alone is enough.

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


def open_run(
    path: Path,
    *,
    checkpoint: str = "best",
    predictor: str | None = None,
    device: torch.device,
    untrained: bool = False,
) -> TrainedModel:
    """A run folder, or a checkpoint file, as something that predicts.

    Args:
        checkpoint: `best` or `last`, where `path` is a folder.
        predictor: another network than the recipe names, or than the method's first.
        untrained: the network as it was before the first step, for comparison.

    Raises:
        FileNotFoundError, ValueError: no checkpoint there, or not one of this program.
        LookupError: no predictor of that name.
    """
    require_kind(path, "run", "checkpoint")
    file = path / f"{checkpoint}.pt" if path.is_dir() else path
    if not file.exists() and (path / "last.pt").is_file():
        raise FileNotFoundError(
            f"{file}: no checkpoint there, because the run was not validated yet; "
            "--checkpoint last takes its last state"
        )
    state: TrainState = load(file)
    config = checked(state.config["run"], RunConfig, file)
    spec = DatasetSpec.check(state.config["dataset"], file)
    shape = state.config["vectors"]
    vectors = None if shape is None else _stored_vectors(state, tuple(shape), file)
    # Statistics that begin with the labeled voxels come from the checkpoint.
    voxels = (1,) * len(state.identity.classes)
    method = build_method(config, RunInputs(state.identity.classes, vectors, voxels))
    if not untrained:
        method.load_state_dict(state.method)
    name = chosen_predictor(method, predictor or config.inference.predictor)
    network = method.predictors()[name].to(device).eval()
    step = 0 if untrained else state.step
    told = trained_on(state.config, spec)
    seen = frozenset(state.config.get("training_cases", ()))
    return TrainedModel(
        config, spec, network, device, step, name, file, state.identity.data, told, seen
    )


def trained_on(told: dict[str, Any], spec: DatasetSpec) -> str:
    """Protocol and split that a checkpoint or bundle says it was trained on.

    One that does not tell may have learned from any cases, so it does not get the bare name.
    """
    return str(told.get("trained_on", f"{spec.protocol}, unknown training cases"))


def chosen_predictor(method: Method, name: str | None) -> str:
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


def _stored_vectors(state: TrainState, shape: tuple[int, ...], file: Path) -> torch.Tensor:
    for key in ("network.head.vectors", "network.contrast.vectors"):
        if key in state.method and tuple(state.method[key].shape) == shape:
            return state.method[key]
    raise ValueError(f"{file}: the text vectors {list(shape)} are missing; the file is damaged")
