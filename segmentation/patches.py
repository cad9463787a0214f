"""Labeled and unlabeled patches as a pure function of (seed, step).

Step s always gives the same batch, so a run that resumes at s sees what the run that was never
interrupted saw. Legend of shapes: `x y z` space in nibabel order.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from segmentation.method import Batch
from segmentation.prepare import Case, read_case

_LABELED, _UNLABELED = 0, 1  # the two streams draw from different random numbers


class PatchStream(Dataset[Batch]):
    """Random crops, `labeled_per_step` of labeled and `unlabeled_per_step` of unlabeled cases.

    Cases are visited in an endless chain of random permutations, so that every case is seen
    equally often. A volume smaller than the patch is padded with zeros on both sides. Nothing is
    flipped: a mirrored patient would make every sentence about left and right a lie.

    Args:
        labeled, unlabeled: prepared case files.
        patch: sides of a patch in voxels.
        cached_cases: volumes kept in memory, in every process that makes patches; None keeps all.
    """

    def __init__(
        self,
        labeled: Sequence[Path],
        unlabeled: Sequence[Path],
        *,
        patch: Sequence[int],
        labeled_per_step: int = 2,
        unlabeled_per_step: int = 2,
        seed: int = 0,
        cached_cases: int | None = None,
    ) -> None:
        if not labeled:
            raise ValueError("no labeled case to learn from")
        if unlabeled_per_step and not unlabeled:
            raise ValueError(
                f"unlabeled_per_step is {unlabeled_per_step}, but there is no unlabeled case; "
                "set it to 0 or add scans"
            )
        self._cases = (list(labeled), list(unlabeled))
        self._per_step = (labeled_per_step, unlabeled_per_step)
        self._patch, self._seed, self._limit = tuple(patch), seed, cached_cases
        self._cache: OrderedDict[Path, Case] = OrderedDict()

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        labeled = [self._crop(step, _LABELED, place) for place in range(self._per_step[0])]
        unlabeled = [self._crop(step, _UNLABELED, place) for place in range(self._per_step[1])]
        empty = np.zeros((0, *self._patch), dtype=np.float32)
        return Batch(
            image=_images(np.stack([image for image, _ in labeled])),
            label=torch.from_numpy(np.stack([label for _, label in labeled]).astype(np.int64)),
            unlabeled=_images(np.stack([image for image, _ in unlabeled]) if unlabeled else empty),
        )

    def _crop(
        self, step: int, stream: int, place: int
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        case = self._read(self._choose(step, stream, place))
        image = np.asarray(case.image, dtype=np.float32)
        draw = np.random.default_rng((self._seed, stream, step, place))
        start = [
            int(draw.integers(0, max(side - size, 0) + 1))
            for side, size in zip(image.shape, self._patch, strict=True)
        ]
        label = case.label if stream == _LABELED else np.zeros(image.shape, dtype=np.uint8)
        if label is None:
            raise ValueError(f"{self._choose(step, stream, place)}: a labeled case without a label")
        return self._cut(image, start), self._cut(label, start)

    def _choose(self, step: int, stream: int, place: int) -> Path:
        cases = self._cases[stream]
        turn, position = divmod(step * self._per_step[stream] + place, len(cases))
        order = np.random.default_rng((self._seed, stream, turn)).permutation(len(cases))
        return cases[order[position]]

    def _cut(self, volume: NDArray, start: Sequence[int]) -> NDArray:
        cut = volume[tuple(slice(s, s + p) for s, p in zip(start, self._patch, strict=True))]
        missing = [size - side for size, side in zip(self._patch, cut.shape, strict=True)]
        return np.pad(cut, [(gap // 2, gap - gap // 2) for gap in missing])

    def _read(self, path: Path) -> Case:
        case = self._cache.pop(path, None) or read_case(path)
        self._cache[path] = case
        if self._limit is not None and len(self._cache) > max(self._limit, 1):
            self._cache.popitem(last=False)
        return case


def batches(stream: PatchStream, start: int, stop: int, *, workers: int = 0) -> Iterator[Batch]:
    """The batches of steps start ... stop - 1, made ahead by `workers` processes."""
    return iter(
        DataLoader(
            stream,
            batch_size=None,
            sampler=range(start, stop),
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
        )
    )


def _images(stacked: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(stacked))[:, None]
