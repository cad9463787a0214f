"""One item measured in a process of its own: `python -m tests.benchmarks.worker ITEM ...`.

Prints a line of JSON. A fresh process is what makes the peak of memory the item's own.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pipeline import startup

startup.configure_process()

import torch  # noqa: E402

from tests.benchmarks import items  # noqa: E402
from tests.benchmarks.memory import peak_gib  # noqa: E402
from tests.benchmarks.settings import COMPILE_MODES, SIZES, Bench  # noqa: E402

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def main(arguments: list[str]) -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser()
    ask.add_argument("item")
    ask.add_argument("--setting", choices=SIZES, required=True)
    ask.add_argument("--device", required=True)
    ask.add_argument("--precision", choices=PRECISIONS, required=True)
    ask.add_argument("--repeats", type=int, required=True)
    ask.add_argument("--warm-up", type=int, required=True)
    ask.add_argument("--threads", type=int, required=True)
    ask.add_argument("--scan", type=int, nargs=3, required=True)
    ask.add_argument("--classes", type=int)
    ask.add_argument("--recompute", action="store_true")
    ask.add_argument("--no-contrast", action="store_true")
    ask.add_argument("--compile", choices=COMPILE_MODES)
    ask.add_argument("--channels-last", action="store_true")
    want = ask.parse_args(arguments)
    torch.set_num_threads(want.threads)
    torch.manual_seed(0)
    bench = Bench(
        replace(
            SIZES[want.setting],
            scan=tuple(want.scan),
            classes=want.classes or SIZES[want.setting].classes,
        ),
        torch.device(want.device),
        PRECISIONS[want.precision],
        recompute=want.recompute,
        contrast=not want.no_contrast,
        compiled=want.compile,
        channels_last=want.channels_last,
    )
    try:
        run = made(want.item, bench)
        measure = on_gpu if bench.device.type == "cuda" else on_cpu
        print(json.dumps(measure(run, want.repeats, want.warm_up)))
    finally:
        for folder in items.folders():
            shutil.rmtree(folder)


def made(name: str, bench: Bench) -> Callable[[], Any]:
    """The function that an item times; `step:METHOD` is the step of a method."""
    kind, _, method = name.partition(":")
    return items.step(bench, method) if kind == "step" else items.PARTS[name](bench)


def on_cpu(run: Callable[[], Any], repeats: int, warm_up: int) -> dict[str, float]:
    """Medians of wall and CPU seconds (user and system), and the process's peak in GiB."""
    walls, works, waits = [], [], []
    for place in range(warm_up + repeats):
        begin, work = time.perf_counter(), time.process_time()
        waited = run()
        if place >= warm_up:
            walls.append(time.perf_counter() - begin)
            works.append(time.process_time() - work)
            waits.append(waited if isinstance(waited, float) else 0.0)
    found = {"wall_s": statistics.median(walls), "cpu_s": statistics.median(works)}
    return found | {"best_cpu_s": min(works), "peak_gib": peak_gib()} | _share(waits, walls)


def on_gpu(run: Callable[[], Any], repeats: int, warm_up: int) -> dict[str, float]:
    """The median of the seconds between two events on the GPU, and the peak of its memory."""
    spans, waits = [], []
    for place in range(warm_up + repeats):
        if place == warm_up:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        waited = run()
        end.record()
        if place >= warm_up:
            spans.append((begin, end))
            waits.append(waited if isinstance(waited, float) else 0.0)
    torch.cuda.synchronize()
    walls = [begin.elapsed_time(end) / 1e3 for begin, end in spans]
    peak = torch.cuda.max_memory_allocated() / 2**30
    return {"wall_s": statistics.median(walls), "peak_gib": peak} | _share(waits, walls)


def _share(waits: list[float], walls: list[float]) -> dict[str, float]:
    return {"waiting": sum(waits) / sum(walls)} if any(waits) else {}


if __name__ == "__main__":
    main(sys.argv[1:])
