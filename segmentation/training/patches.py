"""Labeled and unlabeled patches as a pure function of (seed, step).

Step s always gives the same batch, so a run that resumes at s sees what the run that was never
interrupted saw. Legend of shapes: `x y z` space in nibabel order.
"""

import signal
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from segmentation.data.case_files import case_shape, case_spacing, read_case, read_crop
from segmentation.imaging.volume import Array, Sizes
from segmentation.methods.base.method import Batch
from segmentation.training.augmentation import Augmenter

_LABELED, _UNLABELED = 0, 1  # the two streams draw from different random numbers
_IMAGE_BYTES, _LABEL_BYTES = 4, 1  # of a voxel


class _Voxels(NamedTuple):
    """Image float32 and label uint8 of a case or a crop of it, [x, y, z] each."""

    image: Tensor
    label: Tensor | None


class PatchStream(Dataset[Batch]):
    """Random patch sampler over labeled and unlabeled cases, a function of the step.

    Cases follow in an endless chain of random permutations, so that all are sampled equally often.
    A volume smaller than the patch is padded with zeros on both sides.

    Args:
        labeled, unlabeled: prepared case files.
        patch: sides of a patch in voxels.
        labeled_per_step, unlabeled_per_step: patches per batch.
        seed: random seed.
        case_order, crops: as in `[training]` of a recipe.
        cached_cases: number of volumes cached in memory by every data process, the first ones that
            are read; None for all. Only the crop is read of any other case.
        device: device that holds all volumes and crops the patches, None for the host; the batches
            are the same.
        device_gib: limit of the volumes' memory on the device.
        augmenter: random transforms of the patches, where they are cut; none by default.
        rank, ranks: of several processes, each of which cuts its equal share of a step's patches.

    Raises:
        ValueError: no labeled case, no unlabeled case though some are required, volumes that
            exceed the device's limit, or patches that the processes cannot share equally.
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
        case_order: str = "cases",
        crops: str = "all",
        cached_cases: int | None = None,
        device: torch.device | None = None,
        device_gib: float = 8.0,
        augmenter: Augmenter | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if not labeled:
            raise ValueError("expected at least one labeled case, got none")
        if unlabeled_per_step and not unlabeled:
            raise ValueError(
                f"unlabeled_per_step is {unlabeled_per_step}, but there is no unlabeled case; "
                "set it to 0 or add scans"
            )
        self._cases = (list(labeled), list(unlabeled))
        self._per_step = (labeled_per_step, unlabeled_per_step)
        self._places = tuple(
            _share(f"{name}_per_step", count, rank, ranks)
            for name, count in zip(("labeled", "unlabeled"), self._per_step, strict=True)
        )
        self._patch, self._seed, self._limit = tuple(patch), seed, cached_cases
        self._repeats, self._last_place = case_order == "published", crops != "published"
        self._cache: dict[Path, _Voxels] = {}
        self._shapes: dict[Path, Sizes] = {}
        self._spacings: dict[Path, tuple[float, float, float]] = {}
        self._augmenter, self.device = augmenter, device
        if device is not None:
            self._check_room(device, device_gib)

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step, counted from 0: the patches of this process."""
        labeled = [self._crop(step, _LABELED, place) for place in self._places[_LABELED]]
        weak = [self._crop(step, _UNLABELED, place).image for place in self._places[_UNLABELED]]
        images = self._intensities([crop.image for crop in labeled], _LABELED, step)
        strong = self._intensities(weak, _UNLABELED, step)
        two_views = self._augmenter is not None and self._augmenter.options.views == "two"
        return Batch(
            image=torch.stack(images)[:, None],
            label=torch.stack([crop.label for crop in labeled if crop.label is not None]).long(),
            unlabeled=self._stacked(weak if two_views else strong),
            strong=self._stacked(strong) if two_views else None,
        )

    def case_names(self, step: int) -> list[str]:
        """Names of the cases in the batch of a step, labeled ones first, each once."""
        places = [(s, p) for s in (_LABELED, _UNLABELED) for p in range(self._per_step[s])]
        return list(dict.fromkeys(self._choose(step, *place).stem for place in places))

    def _stacked(self, images: Sequence[Tensor]) -> Tensor:
        none = torch.zeros((0, *self._patch), device=self.device)
        return (torch.stack(list(images)) if images else none)[:, None]

    def _intensities(self, images: Sequence[Tensor], stream: int, step: int) -> list[Tensor]:
        """Patches [x, y, z] of a step with the transforms of the intensity."""
        if self._augmenter is None:
            return list(images)
        return [
            self._augmenter.intensity(image, (stream, step, place))
            for place, image in zip(self._places[stream], images, strict=True)
        ]

    def _crop(self, step: int, stream: int, place: int) -> _Voxels:
        """A patch with its spatial transforms."""
        path = self._choose(step, stream, place)
        draw = np.random.default_rng((self._seed, stream, step, place))
        origin = self._draw_origin(self._shape(path), draw)
        labeled = stream == _LABELED
        if self._augmenter is None:
            voxels = self._read(path, origin, self._patch, labeled)
        else:
            voxels = self._transformed(path, origin, (stream, step, place), self._augmenter)
        if labeled and voxels.label is None:
            raise ValueError(f"{path}: a labeled case without a label")
        return voxels

    def _draw_origin(self, shape: Sizes, draw: np.random.Generator) -> list[int]:
        """The first voxel of a random patch; negative where the volume is smaller."""
        small = any(side <= size for side, size in zip(shape, self._patch, strict=True))
        origin = []
        for side, size in zip(shape, self._patch, strict=True):
            if self._last_place:
                padding, places = max(size - side, 0) // 2, max(side - size, 0) + 1
            else:  # one small side pads all; the last place is never drawn
                padding = max((size - side) // 2 + 3, 0) if small else 0
                places = side + 2 * padding - size
            origin.append(int(draw.integers(0, places)) - padding)
        return origin

    def _transformed(
        self, path: Path, origin: Sequence[int], place: tuple[int, int, int], augmenter: Augmenter
    ) -> _Voxels:
        """The patch at an origin [x, y, z], grown, rotated, scaled and mirrored."""
        if path not in self._spacings:
            self._spacings[path] = case_spacing(path)
        spacing, labeled = self._spacings[path], place[0] == _LABELED
        spatial = augmenter.spatial(place, spacing, labeled=labeled)
        center = np.asarray(origin) + (np.asarray(self._patch) - 1) / 2
        half = augmenter.margins(spatial, self._patch, spacing)
        lower = np.floor(center - half).astype(int)
        upper = np.ceil(center + half).astype(int)
        image, label = self._read(path, lower.tolist(), (upper - lower + 1).tolist(), labeled)
        if label is not None:
            image, label = augmenter.grow(image, label, spatial, spacing)
        if spatial.matrix is None:
            starts = zip(np.asarray(origin) - lower, self._patch, strict=True)
            cut = tuple(slice(int(start), int(start) + size) for start, size in starts)
            return _Voxels(image[cut], None if label is None else label[cut])
        offset = center - (lower + upper) / 2
        return _Voxels(
            augmenter.resample(image, spatial, offset, self._patch, "bilinear"),
            None
            if label is None
            else augmenter.resample(label, spatial, offset, self._patch, "nearest"),
        )

    def _read(
        self, path: Path, origin: Sequence[int], sizes: Sequence[int], labeled: bool
    ) -> _Voxels:
        """A box of a case [x, y, z], with zeros where it reaches beyond the volume."""
        box, gaps = [], []
        for start, size, side in zip(origin, sizes, self._shape(path), strict=True):
            first, last = max(start, 0), min(start + size, side)
            box.append(slice(first, last))
            gaps.append((first - start, start + size - last))
        image, label = self._cut(path, tuple(box), labeled=labeled)
        padding = [count for gap in reversed(gaps) for count in gap]  # F.pad: last axis first
        return _Voxels(F.pad(image, padding), None if label is None else F.pad(label, padding))

    def _choose(self, step: int, stream: int, place: int) -> Path:
        cases = self._cases[stream]
        length = len(cases)
        if self._repeats:  # an epoch has as many steps as there are unlabeled cases
            length = self._per_step[stream] * len(self._cases[_UNLABELED] or self._cases[_LABELED])
        turn, position = divmod(step * self._per_step[stream] + place, length)
        order = np.random.default_rng((self._seed, stream, turn)).permutation(length)
        return cases[order[position] % len(cases)]

    def _cut(self, path: Path, box: tuple[slice, ...], *, labeled: bool) -> _Voxels:
        """A box of a case, from memory if the case is or may be kept there."""
        if path not in self._cache and (self._limit is None or len(self._cache) < self._limit):
            case = read_case(path)
            self._cache[path] = self._tensors(case.image, case.label)
        if path not in self._cache:
            return self._tensors(*read_crop(path, box, labeled=labeled))
        image, label = self._cache[path]
        return _Voxels(image[box], None if label is None else label[box])

    def _tensors(self, image: Array, label: Array | None) -> _Voxels:
        voxels = torch.from_numpy(image).to(self.device, torch.float32)
        return _Voxels(voxels, None if label is None else torch.from_numpy(label).to(self.device))

    def _shape(self, path: Path) -> Sizes:
        if path not in self._shapes:
            self._shapes[path] = case_shape(path)
        return self._shapes[path]

    def _check_room(self, device: torch.device, limit_gib: float) -> None:
        """Check that the volumes fit into the device's limit."""
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


def _share(key: str, patches: int, rank: int, ranks: int) -> range:
    """Places in the step's patches that a process cuts."""
    if patches % ranks:
        raise ValueError(
            f"training.{key} is {patches}, which {ranks} processes cannot share equally; it counts "
            "the patches of all processes together: set a multiple of them"
        )
    each = patches // ranks
    return range(rank * each, (rank + 1) * each)


def batches(stream: PatchStream, start: int, stop: int, *, workers: int = 0) -> Generator[Batch]:
    """The batches of steps start ... stop - 1, prefetched by `workers` processes.

    Raises:
        ValueError, OSError: a case that cannot be read, as if it was read in this process.
        ChildProcessError: a worker died while it handed over a batch.
    """
    loader = DataLoader(
        _ReturnsErrors(stream),
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        worker_init_fn=_leave_signals_to_parent,
        pin_memory=torch.cuda.is_available() and stream.device is None,
    )
    error = None
    try:
        # The loop alone holds the loader's iterator: a variable would live on in the traceback of
        # an error, and with it the workers.
        for batch in loader:
            if isinstance(batch, Exception):
                error = batch
                break
            yield batch
    except (OSError, EOFError) as fault:
        # A case that cannot be read is returned, not raised: only a connection fails here.
        raise _killed_worker(workers) from fault.with_traceback(None)
    if error is not None:
        raise error


class _ReturnsErrors(Dataset[Batch | Exception]):
    """A stream whose errors are returned: torch would raise them as the text of a traceback."""

    def __init__(self, stream: PatchStream) -> None:
        self._stream = stream

    def __getitem__(self, step: int) -> Batch | Exception:
        try:
            return self._stream[step]
        except (ValueError, OSError) as fault:
            return fault


@contextmanager
def explain_killed_worker(workers: int) -> Iterator[None]:
    """Turn torch's error about a dead data worker into one line with a remedy.

    Torch raises it from a signal handler, so at any place of the training step.

    Raises:
        ChildProcessError: in place of torch's RuntimeError.
    """
    try:
        yield
    except RuntimeError as fault:
        if "DataLoader worker" not in str(fault):
            raise
        raise _killed_worker(workers) from fault


def _killed_worker(workers: int) -> ChildProcessError:
    return ChildProcessError(
        f"one of training.workers = {workers} data processes was killed, perhaps because "
        "memory ran out; set training.workers or training.cached_cases lower and --resume "
        "from the last checkpoint"
    )


def _leave_signals_to_parent(_worker: int) -> None:
    """Ignore SIGINT, and the first SIGTERM, in a data worker.

    Terminals and job schedulers send these to every process of a job. A worker that obeyed would
    fail the step that the training process still finishes. The second SIGTERM has to end a worker:
    Python terminates all child processes at its exit and then waits for them without a time limit.
    """

    def obey_next(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, obey_next)
