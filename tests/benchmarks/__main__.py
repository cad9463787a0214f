"""Time everything that has to be fast: `python -m tests.benchmarks --setting demo`.

Every item runs in a process of its own: warm-up, then the median of repeats; CUDA events on a GPU;
the peak of memory that the process, or torch on the GPU, reached. `--published DIR`, a checkout of
the released TAK code, adds its step and its sliding window, and their ratios to those here.
`--out FILE.json` keeps the numbers, with a Markdown block for NOTES.md beside them. `--ladder`
prints costs against size with the exponent of their growth.
"""

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pipeline.config.registry import names
from tests.benchmarks import ladder, start
from tests.benchmarks.growth import GROWTHS
from tests.benchmarks.items import PARTS
from tests.benchmarks.settings import COMPILE_MODES, SIZES

Row = dict[str, Any]
_COLUMNS = {"wall_s": "wall, s", "cpu_s": "CPU, s", "best_cpu_s": "least CPU, s",
            "peak_gib": "peak, GiB", "waiting": "waiting"}  # fmt: skip
_RELEASED = {"step:magicnet": "released:step", "sliding_windows": "released:windows"}


def main() -> None:
    """Measure what is asked for, print a table, write it."""
    want = arguments().parse_args()
    known = [*PARTS, *(f"step:{name}" for name in names("segmentation.methods"))]
    known += ["start:help", "start:train", *(_RELEASED.values() if want.published else ())]
    chosen = [name for name in known if not want.only or name in want.only]
    unknown = set(want.only or ()) - set(known) - set(GROWTHS if want.ladder else ())
    if unknown:
        raise SystemExit(f"no item {', '.join(sorted(unknown))}; there is {', '.join(known)}")
    if want.ladder:
        for text in ladder.run(want, worker_options(want)):
            print(text, flush=True)
        return
    rows = []
    for name in chosen:
        rows.append({"item": name, **measured(name, want)})
        print(line(rows[-1]), flush=True)
    for row in ratios(rows):
        print(f"{row['item']}: {row['ratio']:.1f} times as fast as {row['than']}")
        rows.append(row)
    if want.out:
        about = {**machine(want), "rows": rows}
        want.out.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        want.out.with_suffix(".md").write_text(markdown(about), encoding="utf-8")


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    ask = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    ask.add_argument("--setting", choices=SIZES, default="demo")
    ask.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    ask.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    ask.add_argument("--only", nargs="+", metavar="ITEM", help="these items alone")
    ask.add_argument("--repeats", type=int, default=20)
    ask.add_argument("--warm-up", type=int, default=5)
    ask.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    ask.add_argument("--scan", type=int, nargs=3, help="sides, in place of the setting's")
    ask.add_argument("--recompute", action="store_true", help="steps with network.recompute")
    ask.add_argument("--no-contrast", action="store_true", help="steps without alignment")
    ask.add_argument(
        "--compile", choices=COMPILE_MODES, help="V-Nets by torch.compile in this mode"
    )
    ask.add_argument("--channels-last", action="store_true", help="weights in this layout")
    ask.add_argument("--published", type=Path, help="checkout of the released TAK code")
    ask.add_argument("--out", type=Path, help="JSON file; Markdown goes beside it")
    ask.add_argument("--ladder", action="store_true", help="costs against size")
    ask.add_argument(
        "--sizes", type=int, nargs="+", help="sizes of the ladder, in place of its own"
    )
    return ask


def measured(name: str, want: argparse.Namespace) -> Row:
    """The numbers of an item, or the last line of what went wrong."""
    if name.startswith("start:"):
        spans = {"help": start.help_seconds, "train": start.train_seconds}[name[6:]]
        return {"wall_s": statistics.median(spans(min(want.repeats, 5)))}
    if name.startswith("released:"):
        command = ["tests.benchmarks.released", str(want.published), "--what", name[9:]]
        command += [*common_options(want), "--patch", str(SIZES[want.setting].patch)]
    else:
        command = ["tests.benchmarks.worker", name, *worker_options(want)]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    if done.returncode:
        return {"fault": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def common_options(want: argparse.Namespace) -> list[str]:
    """Options of the processes that measure this program and the released code."""
    common = ["--device", want.device, "--repeats", str(want.repeats)]
    common += ["--warm-up", str(want.warm_up), "--threads", str(want.threads)]
    common += ["--no-contrast"] * want.no_contrast
    return [*common, "--scan", *map(str, want.scan or SIZES[want.setting].scan)]


def worker_options(want: argparse.Namespace) -> list[str]:
    """Options of a process that measures this program."""
    options = ["--setting", want.setting, *common_options(want), "--precision", want.precision]
    options += ["--recompute"] * want.recompute + ["--channels-last"] * want.channels_last
    return options + (["--compile", want.compile] if want.compile else [])


def ratios(rows: list[Row]) -> Iterator[Row]:
    """How many times as fast as the released code the same work is here.

    By CPU seconds where there is no GPU: other work on the machine would count as well.
    """
    found = {row["item"]: row for row in rows if "fault" not in row}
    for own, than in _RELEASED.items():
        if own in found and than in found:
            key = "cpu_s" if "cpu_s" in found[own] else "wall_s"
            ratio = found[than][key] / found[own][key]
            yield {"item": own, "than": than, "ratio": ratio}


def line(row: Row) -> str:
    """A row for the eye."""
    if "fault" in row:
        return f"{row['item']:24} failed: {row['fault']}"
    parts = [f"{title} {row[key]:.4g}" for key, title in _COLUMNS.items() if key in row]
    return f"{row['item']:24} {'   '.join(parts)}"


def machine(want: argparse.Namespace) -> dict[str, Any]:
    """Where and with what the numbers were made."""
    gpu = torch.cuda.get_device_name() if want.device == "cuda" else None
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": gpu or f"{platform.processor() or platform.machine()}, {want.threads} threads",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "setting": want.setting,
        "precision": want.precision,
        "recompute": want.recompute,
        "contrast": not want.no_contrast,
        "compile": want.compile or "no",
        "channels last": want.channels_last,
        "repeats": want.repeats,
    }


def markdown(about: dict[str, Any]) -> str:
    """A block for NOTES.md."""
    heads = [title for key, title in _COLUMNS.items() if any(key in row for row in about["rows"])]
    keys = [key for key, title in _COLUMNS.items() if title in heads]
    facts = {key: value for key, value in about.items() if key != "rows"}
    lines = [", ".join(f"{key} {value}" for key, value in facts.items()) + ".", ""]
    lines += [f"| item | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for row in about["rows"]:
        if "ratio" in row:
            lines.append(f"| {row['item']} / {row['than']} | {row['ratio']:.1f} x |")
        elif "fault" in row:
            lines.append(f"| {row['item']} | failed: {row['fault']} |")
        else:
            cells = [f"{row[key]:.4g}" if key in row else "" for key in keys]
            lines.append(f"| {row['item']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
