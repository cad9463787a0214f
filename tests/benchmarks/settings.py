"""The sizes that benchmarks run at, and what is made to size: methods, batches, label maps."""

from dataclasses import dataclass, field

import numpy as np
import torch

from pipeline.config.recipe import RunConfig
from pipeline.runs.build import RunInputs, build_method
from segmentation.methods.base.method import Batch, Method
from segmentation.networks.vnet import VNet

COMPILE_MODES = ("default", "reduce-overhead", "max-autotune-no-cudagraphs")
STEPS, LATE, EARLY = 1000, 600, 0  # a step in which every term takes part; one of the warm-up
WARM_UP_STEPS = 200


@dataclass(frozen=True)
class Size:
    """The numbers of a setting; patches are cubes of side `patch`."""

    patch: int
    cube: int
    width: int
    levels: int
    classes: int
    text_width: int
    location_hidden: int
    samples: tuple[int, ...]
    scan: tuple[int, int, int]
    overlap: float | tuple[float, float, float]
    of_methods: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        return (self.patch,) * 3


_TAK = (32, 16, 5, 16, 512, 4096, (40, 20, 10))  # all of the published setting but its patch
_THIRDS, _HALVES = (0.6666, 0.6666, 0.8333), (0.5, 0.5, 0.75)  # strides of 32, 32 and 16
SIZES = {
    "published": Size(96, *_TAK, (256, 256, 128), _THIRDS),
    "published-64": Size(64, *_TAK, (128, 128, 96), _HALVES),
    "demo": Size(32, 16, 8, 4, 14, 384, 256, (10, 5, 5), (56, 48, 64), 0.25),
    "tiny": Size(16, 8, 4, 3, 4, 12, 16, (4, 3, 2), (24, 24, 20), 0.25, {"ua_mt": {"passes": 2}}),
}


@dataclass(frozen=True)
class Bench:
    """What an item is handed."""

    size: Size
    device: torch.device
    precision: torch.dtype | None  # of autocast; None for fp32
    recompute: bool = False
    contrast: bool = True
    compiled: str | None = None  # mode of torch.compile; `reduce-overhead` takes CUDA graphs
    channels_last: bool = False

    def method(self, name: str = "magicnet") -> Method:
        """A method as in TAK: GA losses, text head and, unless it is off, contrast."""
        size = self.size
        options: dict[str, object] = dict(size.of_methods.get(name, {}))
        if name == "magicnet":
            options |= {"cube": size.cube, "location_hidden": size.location_hidden}
            options |= {"location_bias": False, "blend": "teacher"}
        aligned = {"name": "contrast", "samples": list(size.samples), "start": 0.0}
        recipe = {
            "title": "benchmark",
            "network": {
                "width": size.width, "levels": size.levels, "recompute": self.recompute
            },
            "method": {"name": name, **options},
            "loss": {"name": "ga"},
            "head": {"name": "text"},
            "alignment": aligned if self.contrast else {"name": "none"},
            "training": {
                "steps": STEPS, "warmup_steps": WARM_UP_STEPS, "patch": list(size.patch_shape)
            },
        }  # fmt: skip
        classes = tuple(f"class {place}" for place in range(size.classes))
        vectors = torch.randn(size.classes, 2, size.text_width, generator=_generator())
        voxels = tuple(1000 // (1 + place) for place in range(size.classes))
        config = RunConfig.model_validate(recipe)
        method = build_method(config, RunInputs(classes, 5 * vectors, voxels))
        return self._tried(method.to(self.device).train())

    def _tried(self, method: Method) -> Method:
        """The method with what no recipe has: another memory layout, compiled networks."""
        if self.channels_last:
            method = method.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        for part in method.modules():
            if self.compiled and isinstance(part, VNet):
                part.encode = torch.compile(part.encode, mode=self.compiled)  # type: ignore[method-assign]
                part.pyramid = torch.compile(part.pyramid, mode=self.compiled)  # type: ignore[method-assign]
        return method

    def batch(self) -> Batch:
        """Two labeled and two unlabeled patches; labels lie in blocks, as organs do."""
        shape = (2, 1, *self.size.patch_shape)
        images = [torch.rand(shape, generator=_generator()) for _ in range(2)]
        return Batch(images[0], self.labels(2), images[1]).to(self.device)

    def labels(self, count: int) -> torch.Tensor:
        """Labels [count, x, y, z] in blocks of a fourth of the side; an eighth for many classes."""
        cut = 4 if self.size.classes <= 64 else 8
        blocks = torch.randint(0, self.size.classes, (count, cut, cut, cut), generator=_generator())
        for axis in (1, 2, 3):
            blocks = blocks.repeat_interleave(self.size.patch // cut, axis)
        return blocks.to(self.device)

    def random(self, *shape: int, grad: bool = False) -> torch.Tensor:
        """Normal numbers on the device, in the precision of the run."""
        made = torch.randn(shape, generator=_generator())
        return made.to(self.device, self.precision or torch.float32).requires_grad_(grad)

    def scan_labels(self) -> np.ndarray:
        """A label map of a scan's size, with every class as a box."""
        labels = np.zeros(self.size.scan, np.uint8)
        random = np.random.default_rng(0)
        for kind in range(1, self.size.classes):
            low = [int(random.integers(0, side // 2)) for side in labels.shape]
            labels[tuple(slice(one, one + side // 4) for one, side in zip(
                low, labels.shape, strict=True))] = kind  # fmt: skip
        return labels


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
