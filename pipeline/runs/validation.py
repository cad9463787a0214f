"""Validation during training: Dice per organ on the prepared grid, and pictures."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config.recipe import RunConfig
from pipeline.pictures.overlay import code_map, overlay
from pipeline.runs.trained_model import sliding_window
from segmentation.data.preparation import Case, Prepared, read_case
from segmentation.evaluation.metrics import dice
from segmentation.evaluation.statistics import nan_mean
from segmentation.methods.base.method import Method
from segmentation.training.distributed.ranks import Ranks
from segmentation.training.monitor import Validation, text_head_state

Tick = Callable[[str, int, int], None]  # name of the case, cases done, all cases


def validator(
    config: RunConfig,
    prepared: Prepared,
    device: torch.device,
    tick: Tick,
    ranks: Ranks | None = None,
) -> Callable[[Method], Validation]:
    """A function that scores every predictor on the validation cases, with pictures of the first.

    Args:
        tick: called with every case before it is scored.
        ranks: processes that share out the cases; each gets all results, pictures aside.
    """
    classes, names = prepared.spec.classes, prepared.split.validation
    window = sliding_window(config, validation=True)
    absent = 0.0 if config.training.validation_absent == "zero" else math.nan
    ranks = ranks or Ranks()

    def validate(method: Method) -> Validation:
        networks = method.predictors()
        first = config.inference.predictor or next(iter(networks))
        order = [first, *(name for name in networks if name != first)]
        scores: dict[str, dict[str, dict[str, float]]] = {}  # by case and predictor
        predicted = np.zeros(len(classes), dtype=np.int64)
        shown: tuple[Case, NDArray[np.integer]] | None = None
        for done, name in list(enumerate(names))[ranks.rank :: ranks.size]:
            tick(name, done, len(names))
            scores[name] = {}
            case = read_case(prepared.file(name))
            assert case.label is not None
            image = torch.from_numpy(case.image).float().to(device)
            for predictor in order:
                labels = window.labels(networks[predictor], image)
                dices = dice(labels, case.label, classes)
                scores[name][predictor] = {
                    organ: absent if math.isnan(value) else value for organ, value in dices.items()
                }
                if predictor == first:
                    predicted += np.bincount(labels.ravel(), minlength=len(classes))
                    shown = shown or (case, labels)
        measures, pictures = {}, {}
        if ranks.first:  # which has scored the first case
            assert shown is not None
            pictures[f"validation/{names[0]}"] = overlay(*shown, prepared.spec)
            state = text_head_state(method.network, center(shown[0].image, config, device))
            if state is not None:
                measures = state.measures(classes)
                pictures["text/code_cosines"] = code_map(state.cosines.numpy(), classes)
        shares = ranks.collect((scores, predicted))
        together = {name: case for share, _ in shares for name, case in share.items()}
        counts = sum(count for _, count in shares)
        means = {
            predictor: _mean_over_cases([together[name][predictor] for name in names])
            for predictor in order
        }
        voxels = dict(zip(classes[1:], counts[1:].tolist(), strict=True))
        return Validation(means, voxels, measures, pictures)

    return validate


def center(image: NDArray[np.float32], config: RunConfig, device: torch.device) -> torch.Tensor:
    """The patch [x, y, z] in the middle of a prepared image; zeros where the image ends."""
    patch = config.training.patch
    lack = [max(side - size, 0) for side, size in zip(patch, image.shape, strict=True)]
    padded = np.pad(image, [(gap // 2, gap - gap // 2) for gap in lack])
    cut = tuple(
        slice((size - side) // 2, (size - side) // 2 + side)
        for size, side in zip(padded.shape, patch, strict=True)
    )
    return torch.from_numpy(np.ascontiguousarray(padded[cut])).to(device).float()


def _mean_over_cases(cases: list[dict[str, float]]) -> dict[str, float]:
    return {name: nan_mean([case[name] for case in cases]) for name in cases[0]}
