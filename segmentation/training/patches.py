"""Labeled and unlabeled patches as a pure function of (seed, step).

Step s always gives the same batch, so a run that resumes at s sees what the run that was never
interrupted saw. Legend of shapes: `x y z` space in nibabel order.
"""

import signal
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from segmentation.data.case_files import case_shape, read_case, read_crop
from segmentation.imaging.volume import Array, Sizes
from segmentation.methods.base.method import Batch

_LABELED, _UNLABELED = 0, 1  # the two streams draw from different random numbers
_IMAGE_BYTES, _LABEL_BYTES = 4, 1  # of a voxel


class _Voxels(NamedTuple):
    """Image float32 and label uint8 of a case or of a box of it, [x, y, z] each."""

    image: Tensor
    label: Tensor | None


class PatchStream(Dataset[Batch]):
    """Random crops, `labeled_per_step` of labeled and `unlabeled_per_step` of unlabeled cases.

    Cases are visited in an endless chain of random permutations, so that every case is seen
    equally often. A volume smaller than the patch is padded with zeros on both sides. Nothing is
    flipped: a mirrored patient would make every sentence about left and right a lie.

    Args:
        labeled, unlabeled: prepared case files.
        patch: sides of a patch in voxels.
        cached_cases: volumes kept in memory, in every process that makes patches, the first that
            are seen; None keeps all. Of any other case only the crop is read from its file.
        device: keeps all volumes and makes the batches; None is the host. The batches are the same.
        device_gib: what the volumes may take there.

    Raises:
        ValueError: no labeled case, no unlabeled one though some are wanted, or volumes that do
            not fit on the device.
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
        device: torch.device | None = None,
        device_gib: float = 8.0,
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
        self._kept: dict[Path, _Voxels] = {}
        self._shapes: dict[Path, Sizes] = {}
        self.device = device
        if device is not None:
            self._check_room(device, device_gib)

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        labeled = [self._crop(step, _LABELED, place) for place in range(self._per_step[0])]
        unlabeled = [self._crop(step, _UNLABELED, place) for place in range(self._per_step[1])]
        images = [crop.image for crop in unlabeled]
        none = torch.zeros((0, *self._patch), device=self.device)
        return Batch(
            image=torch.stack([crop.image for crop in labeled])[:, None],
            label=torch.stack([crop.label for crop in labeled if crop.label is not None]).long(),
            unlabeled=(torch.stack(images) if images else none)[:, None],
        )

    def _crop(self, step: int, stream: int, place: int) -> _Voxels:
        path = self._choose(step, stream, place)
        draw = np.random.default_rng((self._seed, stream, step, place))
        box = []
        for side, size in zip(self._shape(path), self._patch, strict=True):
            start = int(draw.integers(0, max(side - size, 0) + 1))
            box.append(slice(start, min(start + size, side)))
        image, label = self._cut(path, tuple(box), labeled=stream == _LABELED)
        if stream == _LABELED and label is None:
            raise ValueError(f"{path}: a labeled case without a label")
        return _Voxels(self._padded(image), None if label is None else self._padded(label))

    def _choose(self, step: int, stream: int, place: int) -> Path:
        cases = self._cases[stream]
        turn, position = divmod(step * self._per_step[stream] + place, len(cases))
        order = np.random.default_rng((self._seed, stream, turn)).permutation(len(cases))
        return cases[order[position]]

    def _cut(self, path: Path, box: tuple[slice, ...], *, labeled: bool) -> _Voxels:
        """A box of a case, from memory if the case is or may be kept there."""
        if path not in self._kept and (self._limit is None or len(self._kept) < self._limit):
            case = read_case(path)
            self._kept[path] = self._tensors(case.image, case.label)
        if path not in self._kept:
            return self._tensors(*read_crop(path, box, labeled=labeled))
        image, label = self._kept[path]
        return _Voxels(image[box], None if label is None else label[box])

    def _tensors(self, image: Array, label: Array | None) -> _Voxels:
        found = torch.from_numpy(image).to(self.device, torch.float32)
        return _Voxels(found, None if label is None else torch.from_numpy(label).to(self.device))

    def _padded(self, cut: Tensor) -> Tensor:
        gaps = [size - side for size, side in zip(self._patch, cut.shape, strict=True)]
        return F.pad(cut, [n for gap in reversed(gaps) for n in (gap // 2, gap - gap // 2)])

    def _shape(self, path: Path) -> Sizes:
        if path not in self._shapes:
            self._shapes[path] = case_shape(path)
        return self._shapes[path]

    def _check_room(self, device: torch.device, limit_gib: float) -> None:
        """Refuse volumes that take more of the device than they may."""
        if self._limit is not None:
            raise ValueError(
                f"cached_cases is {self._limit}, but a device keeps all volumes; leave it out, or "
                "set volumes_on = host"
            )
        labeled, unlabeled = (
            sum(prod(self._shape(path)) for path in cases) for cases in self._cases
        )
        need = (_IMAGE_BYTES * (labeled + unlabeled) + _LABEL_BYTES * labeled) / 2**30
        if need > limit_gib:
            count = sum(map(len, self._cases))
            raise ValueError(
                f"{count} volumes need {need:.3g} GiB on {device}, where volumes_gib = "
                f"{limit_gib:g} allows less; raise it, or set volumes_on = host"
            )


def batches(stream: PatchStream, start: int, stop: int, *, workers: int = 0) -> Iterator[Batch]:
    """The batches of steps start ... stop - 1, made ahead by `workers` processes."""
    return iter(
        DataLoader(
            stream,
            batch_size=None,
            sampler=range(start, stop),
            num_workers=workers,
            worker_init_fn=_ignore_signals,
            pin_memory=torch.cuda.is_available() and stream.device is None,
        )
    )


def _ignore_signals(_worker: int) -> None:
    """Leave the signals that ask a run to stop to the process that trains.

    Terminals and job schedulers send them to every process of a job. A worker that obeyed would
    fail the step that is to be finished first; it ends when the training process does.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
