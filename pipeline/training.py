"""A run started or resumed: its folder, its patches, its validation."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch

from knowledge.files import digest_of, write_whole
from pipeline.build import build_method
from pipeline.config import RunConfig
from pipeline.run import chosen_predictor, classify_image, setting_of
from segmentation.checkpoint import Identity
from segmentation.method import Method
from segmentation.metrics import dice, nan_mean
from segmentation.patches import PatchStream
from segmentation.prepare import Prepared, read_case
from segmentation.train import Scores, Trainer

CONFIG = "config.toml"


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
                found = classify_image(network, torch.from_numpy(case.image).to(device), config)
                assert case.label is not None
                labels = found.argmax(0).cpu().numpy()
                cases.append(dice(labels, case.label, prepared.spec.classes))
            scores[name] = _mean_over_cases(cases)
        first = config.inference.predictor or next(iter(scores))
        return {first: scores.pop(first), **scores}

    return validate


def _mean_over_cases(cases: list[dict[str, float]]) -> dict[str, float]:
    return {name: nan_mean([case[name] for case in cases]) for name in cases[0]}
