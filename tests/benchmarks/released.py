"""The step and the sliding window of a checkout of the released TAK code, timed.

The checkout (github.com/Lunn88/TAK-Semi, commit 8f175c5) is the user's to bring; nothing of it is
kept. Its script wants CUDA, real data, packages that a step does not use, and an option that does
not exist (it stops at its 102nd step); all that is put right in memory. Its step at 96^3 needs more
than 23 GiB in fp32: `--patch 64` and `--no-contrast` make it smaller. Prints a line of JSON:

    python -m tests.benchmarks.released DIR --what step --device cuda --repeats 5
"""

import argparse
import json
import os
import re
import resource
import sys
import tempfile
import time
import types
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from pipeline import startup

startup.configure_process()  # the same settings of malloc and OpenMP as the worker of this program

import numpy as np  # noqa: E402
import torch  # noqa: E402

SIDE, CLASSES = 104, 16


class _Enough(Exception):
    """Ends the released script."""


class _Anything:
    """Takes every call, as a writer of summaries does, and gives nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


class _Steps:
    """torchvision's Compose."""

    def __init__(self, steps: list[Callable]) -> None:
        self.steps = steps

    def __call__(self, item: Any) -> Any:
        for one in self.steps:
            item = one(item)
        return item


class _Alone(torch.nn.Module):
    """DataParallel where there is no GPU."""

    def __init__(self, module: torch.nn.Module, **_: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any) -> Any:
        return self.module(*inputs)


def main(arguments: list[str]) -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser()
    ask.add_argument("checkout", type=Path)
    ask.add_argument("--what", choices=("step", "windows"), required=True)
    ask.add_argument("--device", choices=("cpu", "cuda"), required=True)
    ask.add_argument("--repeats", type=int, default=5)
    ask.add_argument("--warm-up", type=int, default=2)
    ask.add_argument("--threads", type=int, default=1)
    ask.add_argument("--patch", type=int, default=96, choices=(64, 96))
    ask.add_argument("--no-contrast", action="store_true")
    ask.add_argument("--scan", type=int, nargs=3, default=(256, 256, 128))
    ask.add_argument("--keep", type=Path, help="file for weights, image and what windows found")
    want = ask.parse_args(arguments)
    torch.set_num_threads(want.threads)
    keep = want.keep and want.keep.absolute()
    with tempfile.TemporaryDirectory() as folder:
        prepare(want.device)
        os.chdir(want.checkout)
        sys.path.insert(0, os.getcwd())
        clock = Clock(want.device, want.repeats, want.warm_up)
        if want.what == "step":
            train(clock, Path(folder), want.patch, contrast=not want.no_contrast)
        else:
            segment(clock, want.patch, want.scan, keep)
        print(json.dumps(clock.found()))


class Clock:
    """Seconds between calls of `tick`, until enough were counted."""

    def __init__(self, device: str, repeats: int, warm_up: int) -> None:
        self.device, self.repeats, self.warm_up = device, repeats, warm_up
        self.times: list[tuple[float, float]] = []

    def tick(self) -> None:
        """Note the time; raises `_Enough` after the last repeat."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.times.append((time.perf_counter(), time.process_time()))
        if self.device == "cuda" and len(self.times) == self.warm_up + 1:
            torch.cuda.reset_peak_memory_stats()
        if len(self.times) > self.repeats + self.warm_up:
            raise _Enough

    def found(self) -> dict[str, float]:
        """Medians after the warm-up, and the peak of memory."""
        spans = np.diff(np.array(self.times), axis=0)[self.warm_up :]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        if self.device == "cuda":
            peak = torch.cuda.max_memory_allocated() / 2**30
        wall, work = np.median(spans, axis=0)
        return {"wall_s": float(wall), "cpu_s": float(work), "peak_gib": peak}


def prepare(device: str) -> None:
    """Stand-ins for packages that a step does not use, and a CPU in place of CUDA if asked."""
    nothing = dict.fromkeys(
        ("metric", "compute_surface_distances", "compute_surface_dice_at_tolerance")
    )
    _stand_in("tensorboardX", SummaryWriter=_Anything)
    _stand_in("torchvision", transforms=types.SimpleNamespace(Compose=_Steps))
    _stand_in("torchvision.transforms", Compose=_Steps)
    for name in ("medpy", "medpy.metric", "surface_distance"):
        _stand_in(name, **nothing)
    _stand_in("skimage", transform=None)
    _stand_in("skimage.measure", label=None)
    _stand_in("tqdm", tqdm=lambda iterable, **_: iterable)
    load = torch.load
    torch.load = lambda *a, **k: load(*a, **{**k, "map_location": device})
    argparse.Namespace.T_dist = 1.0  # type: ignore[attr-defined]
    if device == "cpu":
        torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
        torch.nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
        torch.nn.DataParallel = torch.nn.parallel.DataParallel = _Alone  # type: ignore[misc]


def train(clock: Clock, folder: Path, patch: int, *, contrast: bool) -> None:
    """Run the released training script until the clock has enough."""
    _volumes(folder / "d")
    import utils.cube_utils as cubes  # type: ignore[import-not-found]

    begun = cubes.OrganClassLogger.__init__

    def counted(self: Any, num_classes: int = 14) -> None:
        begun(self, num_classes)
        self.class_dist_init = [1.0] * num_classes

    cubes.OrganClassLogger.__init__ = counted
    start = "-1" if contrast else "1000"  # the contrast begins after this epoch
    sys.argv = ["x", "--data_path", f"{folder}/d/", "--log_path", f"{folder}/log",
                "--label_num", "4", "--gpu", "0", "--start_contrast_epoch", start]  # fmt: skip
    text = _script(patch)
    scope = {"__name__": "__main__", "__tick__": clock.tick, "__file__": "released.py"}
    with suppress(_Enough):
        exec(compile(text, "released", "exec"), scope)


def _script(patch: int) -> str:
    """The released script with another patch, in the middle of a run, ticking at every step."""
    text = Path("train_AMOS_MagicNet_GA_TAK.py").read_text(encoding="utf-8")
    for old, new in (
        (r"iter_num = 0", "iter_num = 119"),
        (r"num_workers=8", "num_workers=0"),
        (r"patch_size = \(96, 96, 96\)", f"patch_size = {(patch,) * 3}"),
        (r"\[4, 1, 96, 96, 96\]", str([4, 1, patch, patch, patch])),
        (r"\.shape\[(\d)\] \* 3", rf".shape[\1] * {patch // 32}"),  # cubes along an axis
        (r"(?m)^(\s*)(optimizer\.zero_grad\(\))", r"\1__tick__()\n\1\2"),
    ):
        text, changed = re.subn(old, new, text)
        if not changed:
            raise ValueError(f"no {old!r} in the released script; bring commit 8f175c5")
    return text


def segment(clock: Clock, patch: int, scan: tuple[int, ...], keep: Path | None) -> None:
    """Run the released sliding window with strides 32, 32, 16 over random numbers."""
    from networks.amos_magicnet_clip_contrast import (  # type: ignore[import-not-found]
        VNet_Magic_CLIP_2p_Contrast as Released,
    )
    from utils.test_amos import test_single_case_fast  # type: ignore[import-not-found]

    network = Released(1, CLASSES, patch_size=patch).to(clock.device).eval()
    with torch.no_grad():
        network.controller.weight.mul_(20)  # or all classes were about as probable
    image = np.random.default_rng(0).random(scan, dtype=np.float32)
    with suppress(_Enough):
        while True:
            clock.tick()
            labels, scores = test_single_case_fast(network, image, 32, 16, (patch,) * 3, CLASSES)
            if keep:
                found = {"image": image, "labels": labels, "scores": scores}
                made = {name: torch.from_numpy(value) for name, value in found.items()}
                texts = network.text_embedding.cpu()
                torch.save({"weights": network.state_dict(), "texts": texts, **made}, keep)


def _stand_in(name: str, **members: Any) -> None:
    module = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)  # torch asks for it
    module.__dict__.update(members)
    sys.modules[name] = module


def _volumes(folder: Path) -> None:
    """Two labeled and six unlabeled cases of blocks in noise, as the released loader reads them."""
    random = np.random.default_rng(0)
    (folder / "splits").mkdir(parents=True)
    names = [f"amos_{place:04d}" for place in range(8)]
    lists = {"labeled_2p": names[:2], "unlabeled_2p": names[2:], "eval": names[:1]}
    for part, cases in (lists | {"test": names[:1]}).items():
        (folder / "splits" / f"{part}.txt").write_text("\n".join(cases) + "\n")
    for name in names:
        label = random.integers(0, CLASSES, (8, 8, 8))
        for axis in range(3):
            label = label.repeat(SIDE // 8, axis)
        image = 25.0 * label - 100 + random.normal(scale=40, size=label.shape)
        np.save(folder / f"{name}_image.npy", image.astype(np.float32))
        np.save(folder / f"{name}_label.npy", label.astype(np.int8))


if __name__ == "__main__":
    main(sys.argv[1:])
