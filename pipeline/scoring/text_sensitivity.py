"""Sensitivity of a trained model to its text: predictions with other text vectors.

A model whose predictions stay the same when the rows of its text are exchanged does not use the
text to distinguish the classes.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from knowledge.bank.bank import Bank
from knowledge.common.files import without_nan, write_whole
from pipeline.results.scores import Sensitivity
from pipeline.runs.setting import scale_vectors
from pipeline.runs.trained_model import TrainedModel
from segmentation.data.case_files import read_case
from segmentation.data.preparation import Prepared
from segmentation.evaluation.statistics import nan_mean

Vectors = dict[str, Tensor]


def other_vectors(model: TrainedModel, bank: Path | None = None, *, seed: int = 0) -> Vectors:
    """Vectors [C, A, E] by name: rows exchanged, their mean, random ones of equal length, a bank's.

    Raises:
        ValueError: a model without text, or a bank of another shape.
        LookupError: the bank has no such class or aspect.
    """
    holders = _vectors_of(model)
    if not holders:
        raise ValueError(f"{model.checkpoint} has no text vectors: nothing to exchange")
    trained = holders[0].detach().cpu()
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.nn.functional.normalize(torch.randn(trained.shape, generator=generator), dim=-1)
    others = {
        "exchanged": trained.roll(1, dims=0),
        "mean": trained.mean(0, keepdim=True).expand_as(trained).clone(),
        "random": drawn * trained.norm(dim=-1, keepdim=True),
    }
    if bank is not None:
        selected = Bank.read(bank).select(model.spec.classes, model.config.text.aspects)
        vectors = scale_vectors(torch.from_numpy(selected), model.config.text)
        if vectors.shape != trained.shape:
            raise ValueError(
                f"{bank} has vectors of shape {tuple(vectors.shape)}, expected "
                f"{tuple(trained.shape)} (classes, aspects, width)"
            )
        others[bank.name] = vectors
    return others


def text_sensitivity(
    model: TrainedModel,
    data: Prepared,
    part: str,
    others: Vectors,
    tick: Callable[[str], None] = lambda case: None,
) -> dict[str, Sensitivity]:
    """The sensitivity of a model to each of the other vectors, over the cases of a part."""
    cases = getattr(data.split, part)
    changed: dict[str, list[float]] = {name: [] for name in others}
    scores: dict[str, list[list[float]]] = {name: [] for name in ("own", *others)}
    organs = data.spec.classes[1:]
    for name in cases:
        case = read_case(data.file(name))
        if case.label is None:
            raise ValueError(f"{data.file(name)}: case {name} has no label to compare with")
        image = torch.from_numpy(case.image)
        unchanged = _labels(model, image)
        scores["own"].append(_dice(unchanged, case.label, len(organs)))
        for other, vectors in others.items():
            with replaced(model, vectors):
                labels = _labels(model, image)
            organ = (unchanged > 0) | (labels > 0)
            changed[other].append(
                float((unchanged != labels)[organ].mean()) if organ.any() else 0.0
            )
            scores[other].append(_dice(labels, case.label, len(organs)))
        tick(name)
    before = dict(zip(organs, _means(scores["own"]), strict=True))
    figures = {}
    for other in others:
        after = dict(zip(organs, _means(scores[other]), strict=True))
        lost = {organ: before[organ] - after[organ] for organ in organs}
        figures[other] = Sensitivity(nan_mean(changed[other]), before, lost)
    return figures


@contextmanager
def replaced(model: TrainedModel, vectors: Tensor) -> Iterator[None]:
    """Replace the text vectors of the model, and restore them afterward."""
    holders = _vectors_of(model)
    originals = [holder.detach().clone() for holder in holders]
    with torch.no_grad():
        for holder in holders:
            holder.copy_(vectors)
    try:
        yield
    finally:
        with torch.no_grad():
            for holder, before in zip(holders, originals, strict=True):
                holder.copy_(before)


def _vectors_of(model: TrainedModel) -> list[Tensor]:
    """The text vectors of every network that predicts; an ensemble has several."""
    tensors = [*model.network.named_buffers(), *model.network.named_parameters()]
    return [tensor for name, tensor in tensors if name.rpartition(".")[2] == "vectors"]


def write_sensitivity(figures: dict[str, Sensitivity], path: Path) -> Path:
    """The figures as JSON; null where an organ was in no case."""
    content = {name: asdict(each) for name, each in figures.items()}
    write_whole(path, json.dumps(without_nan(content), indent=2, allow_nan=False) + "\n")
    return path


def _labels(model: TrainedModel, image: Tensor) -> NDArray[np.integer]:
    return model.window.labels(model.network, image.to(model.device).float())


def _dice(labels: NDArray, truth: NDArray, organs: int) -> list[float]:
    """Dice of every organ; NaN where neither has it."""
    scores = []
    for label in range(1, organs + 1):
        predicted, real = labels == label, truth == label
        size = int(predicted.sum() + real.sum())
        scores.append(2 * int((predicted & real).sum()) / size if size else math.nan)
    return scores


def _means(rows: list[list[float]]) -> list[float]:
    return [nan_mean(list(column)) for column in zip(*rows, strict=True)]
