"""Sliding windows over an image, finished plane by plane, so that one window's depth is held.

Legend of shapes: C classes, `x y z` space.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Tick = Callable[[int, int], None]
Overlap = float | tuple[float, float, float]


@torch.inference_mode()
def class_planes(
    network: nn.Module,
    image: Tensor,
    *,
    patch: Sequence[int],
    overlap: Overlap = 0.5,
    windows_per_call: int = 4,
    blend: str = "gaussian",
    tick: Tick | None = None,
) -> Iterator[Tensor]:
    """Class probabilities of an image [x, y, z] as planes [C, y, z], for x = 0, 1, ... in turn.

    The softmax of every window is averaged, weighted by a Gaussian (`gaussian`) or equally
    (`constant`, as in the published evaluations). Windows lie where MONAI's
    `sliding_window_inference` puts them and weigh as much; that function holds all classes of the
    whole image at once, this one those of the planes that later windows still add to.

    Args:
        network: called with [B, 1, x, y, z]; its `.logits` are used. It is put into evaluation
            mode and back.
        image: on the device of the network.
        overlap: share of a window that the next one repeats, of every axis or of x, y and z.
        tick: called after every pass with the windows done and all windows.
    """
    from monai.data.utils import compute_importance_map, dense_patch_slices

    sides = tuple(patch)
    padded, before = _padded(image, sides)
    steps = [
        side if size == side else step
        for size, side, step in zip(padded.shape, sides, steps_of(sides, overlap), strict=True)
    ]
    windows = dense_patch_slices(padded.shape, sides, steps)
    weight = compute_importance_map(sides, blend, device=image.device)
    ring = _Ring(sides[0], padded.shape[1:], weight)
    kept = range(before[0], before[0] + image.shape[0])
    y, z = (
        slice(lead, lead + side) for lead, side in zip(before[1:], image.shape[1:], strict=True)
    )
    training = network.training
    network.eval()
    done = 0
    try:
        for places in _batches(windows, windows_per_call):
            patches = torch.stack([padded[place] for place in places])[:, None]
            for place, found in zip(places, network(patches).logits, strict=True):
                planes = ring.advance(place[0].start)
                yield from (plane[:, y, z] for x, plane in planes if x in kept)
                ring.add(found.float().softmax(0), place)
            done += len(places)
            if tick:
                tick(done, len(windows))
        yield from (plane[:, y, z] for x, plane in ring.advance(padded.shape[0]) if x in kept)
    finally:
        network.train(training)


class _Ring:
    """Weighted sums of the planes that windows from `start` on reach; plane x lies at x % depth."""

    def __init__(self, depth: int, plane: Sequence[int], weight: Tensor) -> None:
        self.depth, self.plane, self.weight, self.start = depth, tuple(plane), weight, 0
        self.total: Tensor | None = None
        self.share = weight.new_zeros((depth, *self.plane))

    def add(self, found: Tensor, place: tuple[slice, ...]) -> None:
        """Add a window's probabilities [C, x, y, z], overwritten; it starts at plane `start`."""
        found *= self.weight
        if self.total is None:
            self.total = found.new_zeros((len(found), self.depth, *self.plane))
        turn = self.start % self.depth
        halves = (slice(turn, None), slice(self.depth - turn)), (slice(turn), slice(-turn, None))
        for slots, part in halves[: 2 if turn else 1]:
            self.total[:, slots, place[1], place[2]] += found[:, part]
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
    lack = [max(side - size, 0) for side, size in zip(patch, image.shape, strict=True)]
    before = [count // 2 for count in lack]
    pairs = [(lead, count - lead) for lead, count in zip(before, lack, strict=True)]
    return F.pad(image, [side for pair in reversed(pairs) for side in pair]), before


def steps_of(patch: Sequence[int], overlap: Overlap) -> tuple[int, ...]:
    """How many voxels further the next window lies along x, y and z, as MONAI counts it."""
    shares = (overlap,) * 3 if isinstance(overlap, int | float) else overlap
    return tuple(max(int(side * (1 - share)), 1) for side, share in zip(patch, shares, strict=True))


def _batches(places: list[tuple[slice, ...]], size: int) -> Iterator[list[tuple[slice, ...]]]:
    """As few batches of at most `size` as can be, of sizes that differ by one at most.

    A window left over alone would be slow on a CPU: torch takes maps of a single image for oneDNN
    only if they are large, and `slow_conv3d` otherwise (2 to 15 times as slow).
    """
    count = -(-len(places) // size)
    ends = [len(places) * place // count for place in range(count + 1)]
    for first, last in pairwise(ends):
        yield places[first:last]
