"""A run on disk: started, resumed, opened again for prediction."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch

from knowledge.bank import Bank
from knowledge.files import checked, digest_of, write_whole
from pipeline.build import Setting, build_method
from pipeline.config import RunConfig, TextConfig
from segmentation.checkpoint import Identity, TrainState, load
from segmentation.dataset import DatasetSpec
from segmentation.method import Method
from segmentation.metrics import dice, nan_mean
from segmentation.patches import PatchStream
from segmentation.predict import probabilities
from segmentation.prepare import Prepared, read_case
from segmentation.train import Scores, Trainer

CONFIG = "config.toml"


def setting_of(
    config: RunConfig, spec: DatasetSpec, bank_path: Path | None
) -> tuple[Setting, str | None]:
    """Classes and text vectors of a run, and the digest of the bank.

    Raises:
        ValueError: a run with text and no bank, or a bank and nothing that reads it.
        LookupError: the bank lacks a class or an aspect.
    """
    if not config.needs_bank:
        if bank_path is not None:
            raise ValueError(f"--bank {bank_path}: this recipe has neither text head nor alignment")
        return Setting(spec.classes), None
    if bank_path is None:
        raise ValueError("this recipe reads text: give --bank FILE (see `tak encode --help`)")
    bank = Bank.read(bank_path)
    vectors = torch.from_numpy(bank.select(spec.classes, config.text.aspects))
    return Setting(spec.classes, conditioned(vectors, config.text)), bank.digest


def conditioned(vectors: torch.Tensor, text: TextConfig) -> torch.Tensor:
    """Vectors [C, A, E], centered over the classes and given a length, where that is asked for."""
    if text.center:
        vectors = vectors - vectors.mean(0, keepdim=True)
    if text.norm is not None:
        lengths = vectors.norm(dim=-1, keepdim=True)
        vectors = text.norm * vectors / lengths.clamp(min=1e-12)
    return vectors


def start(
    folder: Path,
    config: RunConfig,
    prepared: Prepared,
    bank_path: Path | None,
    *,
    device: torch.device,
    resume: bool,
    report: Callable[[dict[str, Any]], None],
) -> bool:
    """Train a run in `folder`; False if a signal stopped it early.

    Raises:
        FileExistsError: the folder holds a run and `resume` was not asked for.
        ValueError: `resume` with another configuration than the run was started with.
    """
    setting, digest = setting_of(config, prepared.spec, bank_path)
    setting = replace(setting, voxels=labeled_voxels(prepared))
    method = build_method(config, setting).to(device)
    chosen_predictor(method, config.inference.predictor)
    stream = _stream(config, prepared)
    plain = config.model_dump(mode="json", exclude_none=True)
    trainer = Trainer(
        method,
        stream,
        config.training,
        folder,
        identity=Identity(setting.classes, digest, _data_digest(prepared)),
        config={
            "run": plain,
            "dataset": prepared.spec.model_dump(mode="json"),
            "vectors": None if setting.vectors is None else list(setting.vectors.shape),
        },
        device=device,
        validate=_validator(config, prepared, device) if prepared.split.validation else None,
        report=report,
    )
    _claim(folder, plain, resume)
    if resume:
        trainer.resume()
    return trainer.run()


def _stream(config: RunConfig, prepared: Prepared) -> PatchStream:
    options, split = config.training, prepared.split
    return PatchStream(
        [prepared.file(case) for case in split.labeled],
        [prepared.file(case) for case in split.unlabeled],
        patch=options.patch,
        labeled_per_step=options.labeled_per_step,
        unlabeled_per_step=options.unlabeled_per_step,
        seed=config.seed,
        cached_cases=options.cached_cases,
    )


def _data_digest(prepared: Prepared) -> str:
    """What a run must find again when it is resumed: the preparation and the split."""
    parts = {part: sorted(cases) for part, cases in prepared.split.parts().items()}
    return digest_of([prepared.spec.digest, parts])


def labeled_voxels(prepared: Prepared) -> tuple[int, ...]:
    """Voxels per class, background first, in the labeled cases on the prepared grid.

    Raises:
        ValueError: a labeled case has no label.
    """
    classes = len(prepared.spec.classes)
    counts = np.zeros(classes, dtype=np.int64)
    for case in prepared.split.labeled:
        label = read_case(prepared.file(case)).label
        if label is None:
            raise ValueError(f"{prepared.file(case)}: a labeled case without a label")
        counts += np.bincount(label.ravel(), minlength=classes)
    return tuple(map(int, counts))


def _claim(folder: Path, plain: dict[str, Any], resume: bool) -> None:
    """Make the folder of a new run, or check that an old one was started the same way.

    A folder without a checkpoint holds nothing worth keeping: its log is begun anew.
    """
    path = folder / CONFIG
    text = tomli_w.dumps(plain)
    if resume:
        if not path.is_file():
            raise FileNotFoundError(f"{folder}: no run to resume there")
        if path.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{path} differs from the configuration given now; a run is resumed as it was "
                "started"
            )
        return
    if any((folder / name).exists() for name in ("last.pt", "best.pt")):
        raise FileExistsError(f"{folder} holds a run; --resume goes on with it, -o starts another")
    for stale in (folder / "log.jsonl", *folder.glob("events.out.tfevents.*")):
        stale.unlink(missing_ok=True)
    write_whole(path, text)


def _validator(
    config: RunConfig, prepared: Prepared, device: torch.device
) -> Callable[[Method], Scores]:
    """Mean Dice per organ over the validation cases, on the prepared grid, for every predictor."""

    def validate(method: Method) -> Scores:
        scores: dict[str, dict[str, float]] = {}
        for name, network in method.predictors().items():
            cases = []
            for case_name in prepared.split.validation:
                case = read_case(prepared.file(case_name))
                found = _classify(network, torch.from_numpy(case.image).to(device), config)
                assert case.label is not None
                labels = found.argmax(0).cpu().numpy()
                cases.append(dice(labels, case.label, prepared.spec.classes))
            scores[name] = _mean_over_cases(cases)
        first = config.inference.predictor or next(iter(scores))
        return {first: scores.pop(first), **scores}

    return validate


def _classify(network: torch.nn.Module, image: torch.Tensor, config: RunConfig) -> torch.Tensor:
    inference = config.inference
    return probabilities(
        network,
        image.float(),
        patch=config.training.patch,
        overlap=inference.overlap,
        windows_per_call=inference.windows_per_call,
        blend=inference.blend,
    )


def _mean_over_cases(cases: list[dict[str, float]]) -> dict[str, float]:
    return {name: nan_mean([case[name] for case in cases]) for name in cases[0]}


@dataclass(frozen=True)
class Opened:
    """A trained run, ready to predict: its checkpoint alone is enough.

    Attributes:
        step: completed steps of the checkpoint.
        predictor: name of the network that predicts.
    """

    config: RunConfig
    spec: DatasetSpec
    network: torch.nn.Module
    device: torch.device
    step: int
    predictor: str
    checkpoint: Path

    def classify(self, image: torch.Tensor) -> torch.Tensor:
        """Image [x, y, z] on the network's grid to class probabilities [C, x, y, z]."""
        return _classify(self.network, image.to(self.device), self.config)


def open_run(
    path: Path,
    *,
    checkpoint: str = "best",
    predictor: str | None = None,
    device: torch.device,
    untrained: bool = False,
) -> Opened:
    """A run folder, or a checkpoint file, as something that predicts.

    Args:
        checkpoint: `best` or `last`, where `path` is a folder.
        predictor: another network than the recipe names, or than the method's first.
        untrained: the network as it was before the first step, for comparison.

    Raises:
        FileNotFoundError, ValueError: no checkpoint there, or not one of this program.
        LookupError: no predictor of that name.
    """
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
    method = build_method(config, Setting(state.identity.classes, vectors, voxels))
    if not untrained:
        method.load_state_dict(state.method)
    name = chosen_predictor(method, predictor or config.inference.predictor)
    network = method.predictors()[name].to(device).eval()
    return Opened(config, spec, network, device, 0 if untrained else state.step, name, file)


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
