"""Sliding windows over an image, finished plane by plane, so that one window's depth is in memory.

Legend of shapes: C classes, `x y z` space.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from segmentation import losses
from segmentation.common.suggest import unknown
from segmentation.imaging.volume import label_type

Tick = Callable[[int, int], None]
Overlap = float | tuple[float, float, float]
BLENDS = ("gaussian", "constant")
_SIGMA = 0.125  # of the Gaussian, as a share of the window's side
_LEAST_WEIGHT = 1e-3


@dataclass(frozen=True)
class SlidingWindow:
    """Sliding-window inference: windows over an image, and the weighted mean of their outputs.

    Attributes:
        patch: sides of a window in voxels.
        overlap: share of a window that the next one repeats, of every axis or of x, y and z.
        windows_per_call: the most windows in one pass of the network.
        blend: weight of a window's voxels in the average: `gaussian`, or `constant`, as in the
            published evaluations.
    """

    patch: tuple[int, int, int]
    overlap: Overlap = 0.5
    windows_per_call: int = 4
    blend: str = "gaussian"

    @property
    def stride(self) -> tuple[int, ...]:
        """Voxels from one window to the next along x, y and z, as MONAI counts them."""
        overlap = self.overlap
        shares = (overlap,) * 3 if isinstance(overlap, int | float) else overlap
        pairs = zip(self.patch, shares, strict=True)
        return tuple(max(int(side * (1 - share)), 1) for side, share in pairs)

    @torch.inference_mode()
    def planes(
        self, network: nn.Module, image: Tensor, tick: Tick | None = None
    ) -> Iterator[Tensor]:
        """Class probabilities of an image [x, y, z] as planes [C, y, z], for x = 0, 1, ... in turn.

        The softmax of every window is averaged. Windows are placed and weighted as in MONAI's
        `sliding_window_inference`; that function holds all classes of the whole image at once, this
        one those of the planes that later windows still add to.

        Args:
            network: called with [B, 1, x, y, z]; its `.logits` are used. It is put into evaluation
                mode and back.
            image: on the device of the network.
            tick: called after every pass with the windows done and all windows.
        """
        padded, before = _padded(image, self.patch)
        windows = window_slices(padded.shape, self.patch, self.stride)
        weight = importance_map(self.patch, self.blend).to(image.device)
        ring = _Ring(self.patch[0], padded.shape[1:], weight)
        inside = range(before[0], before[0] + image.shape[0])
        y, z = (
            slice(lead, lead + side) for lead, side in zip(before[1:], image.shape[1:], strict=True)
        )
        training = network.training
        network.eval()
        done = 0
        try:
            for places in _batches(windows, self.windows_per_call):
                patches = torch.stack([padded[place] for place in places])[:, None]
                for place, logits in zip(places, network(patches).logits, strict=True):
                    planes = ring.advance(place[0].start)
                    yield from (plane[:, y, z] for x, plane in planes if x in inside)
                    ring.add(logits.float().softmax(0), place)
                done += len(places)
                if tick:
                    tick(done, len(windows))
            planes = ring.advance(padded.shape[0])
            yield from (plane[:, y, z] for x, plane in planes if x in inside)
        finally:
            network.train(training)

    def probabilities(self, network: nn.Module, image: Tensor, tick: Tick | None = None) -> Tensor:
        """Class probabilities [C, x, y, z] of an image [x, y, z], all in memory at once."""
        return torch.stack(list(self.planes(network, image, tick)), dim=1)

    def labels(
        self, network: nn.Module, image: Tensor, tick: Tick | None = None
    ) -> NDArray[np.integer]:
        """The most probable class of every voxel, [x, y, z], computed plane by plane."""
        return np.stack([labels_of(plane) for plane in self.planes(network, image, tick)])


def labels_of(plane: Tensor) -> NDArray[np.integer]:
    """The most probable class at every place of probabilities [C, ...], in the smallest type."""
    labels = losses.most_probable(plane[None])[0]  # three times as fast as argmax(0) on a CPU
    return labels.cpu().numpy().astype(label_type(len(plane)))


def window_slices(
    image: Sequence[int], patch: Sequence[int], stride: Sequence[int]
) -> list[tuple[slice, ...]]:
    """The windows over an image at least as large as a window, the last axis fastest.

    Equals MONAI's `dense_patch_slices`; the last window of an axis is moved back to the border.
    """
    starts = [
        [min(place * step, size - side) for place in range(-(-(size - side) // step) + 1)]
        for size, side, step in zip(image, patch, stride, strict=True)
    ]
    return [
        tuple(slice(start, start + side) for start, side in zip(corner, patch, strict=True))
        for corner in product(*starts)
    ]


def importance_map(patch: Sequence[int], blend: str) -> Tensor:
    """The weight of every voxel of a window, [x, y, z] in fp32 on the CPU.

    Equals MONAI's `compute_importance_map` with its default width.

    Raises:
        LookupError: no such blend.
    """
    if blend not in BLENDS:
        raise LookupError(unknown("blend", blend, BLENDS))
    weight = torch.ones(())
    for side in patch:
        places = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
        line = torch.exp(places**2 / (-2 * (_SIGMA * side) ** 2))
        weight = weight[..., None] * (line if blend == "gaussian" else torch.ones(side))
    # The corners of a Gaussian may round to 0, and a sum of weights must not.
    return weight.clamp(min=max(float(weight.min()), _LEAST_WEIGHT))


class _Ring:
    """Weighted sums of the planes that windows from `start` on reach.

    A ring buffer: plane x is stored at x % depth, and its place is free again once it is given out.
    """

    def __init__(self, depth: int, plane: Sequence[int], weight: Tensor) -> None:
        self.depth, self.plane, self.weight, self.start = depth, tuple(plane), weight, 0
        self.total: Tensor | None = None
        self.share = weight.new_zeros((depth, *self.plane))

    def add(self, probabilities: Tensor, place: tuple[slice, ...]) -> None:
        """Add a window's probabilities [C, x, y, z], overwritten; it starts at plane `start`."""
        probabilities *= self.weight
        if self.total is None:
            self.total = probabilities.new_zeros((len(probabilities), self.depth, *self.plane))
        # A window is as deep as the ring, so it fills all slots, in two pieces around the end.
        turn = self.start % self.depth
        halves = (slice(turn, None), slice(self.depth - turn)), (slice(turn), slice(-turn, None))
        for slots, part in halves[: 2 if turn else 1]:
            self.total[:, slots, place[1], place[2]] += probabilities[:, part]
            self.share[slots, place[1], place[2]] += self.weight[part]

    def advance(self, start: int) -> Iterator[tuple[int, Tensor]]:
        """The planes before `start`, which no window will change any more, and their place."""
        while self.start < start:
            slot = self.start % self.depth
            assert self.total is not None
            yield self.start, self.total[:, slot] / self.share[slot]
            self.total[:, slot] = 0
            self.share[slot] = 0
            self.start += 1


def _padded(image: Tensor, patch: Sequence[int]) -> tuple[Tensor, list[int]]:
    """The image with zeros around it up to the size of a window, and how many lead each axis."""
    missing = [max(side - size, 0) for side, size in zip(patch, image.shape, strict=True)]
    before = [count // 2 for count in missing]
    pairs = [(lead, count - lead) for lead, count in zip(before, missing, strict=True)]
    return F.pad(image, [side for pair in reversed(pairs) for side in pair]), before


def _batches(places: list[tuple[slice, ...]], size: int) -> Iterator[list[tuple[slice, ...]]]:
    """As few batches of at most `size` as can be, of sizes that differ by one at most.

    A window left over alone would be slow on a CPU: torch takes maps of a single image for oneDNN
    only if they are large, and `slow_conv3d` otherwise (2 to 15 times as slow).
    """
    count = -(-len(places) // size)
    ends = [len(places) * place // count for place in range(count + 1)]
    for first, last in pairwise(ends):
        yield places[first:last]
