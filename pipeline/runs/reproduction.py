"""Repetition of a run from its folder, and comparison of the repetition with it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from knowledge.bank.bank import Bank
from pipeline.config.recipe import RunConfig
from pipeline.datasets.protocols import claim_of_data, data_digest
from pipeline.runs.folder import RunFolder
from pipeline.runs.run_record import EXTENSIONS, INIT_FROM, read_run_record
from pipeline.runs.starting.initialization import differences_from
from pipeline.runs.starting.resuming import differing
from segmentation.data.preparation import Prepared, load_prepared
from segmentation.training.checkpoint import TrainState, load
from segmentation.training.log import read_log

_IGNORED = ("seconds", "peak_memory_mib", "memory_of", "warnings")  # not results


@dataclass(frozen=True)
class Original:
    """A finished run with everything that its repetition needs.

    Attributes:
        bank: the run's copy of its text vectors; None without text.
        device: where it was trained, such as `cuda:0`.
        edited: keys of `config.toml` that have changed since training, in words.
        record: the content of `run.json`.
    """

    folder: Path
    config: RunConfig
    data: Prepared
    bank: Path | None
    device: str
    edited: tuple[str, ...]
    record: dict[str, Any]

    @property
    def init_from(self) -> Path | None:
        """The weights that it started from; None for random ones."""
        taken = self.record.get(INIT_FROM)
        return None if taken is None else Path(taken["source"])


@dataclass(frozen=True)
class Difference:
    """A value that differs: at a step, in the run and in its repetition."""

    step: int
    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        before, now = (json.dumps(value, ensure_ascii=False) for value in (self.before, self.now))
        return f"{self.key} is {before} in the run, {now} in the repetition"


@dataclass(frozen=True)
class Comparison:
    """Differences between a repetition and its run.

    Attributes:
        records: records of the log that both have.
        first: differences at the first step that has any.
        largest: the largest relative difference of a loss, and its step; 0 without any.
        digest: of the run's last weights.
        weights: names of weights that differ, with the largest difference of a value.
    """

    records: int
    first: tuple[Difference, ...]
    largest: tuple[float, int]
    digest: str
    weights: Mapping[str, float]

    @property
    def same(self) -> bool:
        """Whether log and weights are equal to the last bit."""
        return not self.first and not self.weights


def open_original(folder: Path, data: Path | None) -> Original:
    """A finished run, with its data and bank checked against what it was trained with.

    Args:
        data: the prepared data, where they have moved.

    Raises:
        FileNotFoundError: no run there, or its data or bank are gone.
        ValueError: the run is not finished, or data or bank are others than it was trained with.
    """
    run = RunFolder(folder)
    if not run.holds_run or not run.config.is_file():
        raise FileNotFoundError(f"{folder}: no run there that could be repeated")
    config = run.read_config()
    state = load(run.last)
    if state.step < state.config["run"]["training"]["steps"]:
        raise ValueError(
            f"{folder}: the run has done {state.step} of {config.training.steps} steps; finish it "
            f"first (`tak train -o {folder} --resume`)"
        )
    record = _read_record(run.provenance)
    if record.get(EXTENSIONS):
        raise ValueError(
            f"{folder}: the run was extended ({run.provenance}); only a run of one length can be "
            "repeated in one go"
        )
    if INIT_FROM in record and (fault := differences_from(record[INIT_FROM])):
        raise ValueError(f"{folder}: {fault}")
    bank = _checked_bank(run, state)
    prepared = _checked_data(run, record, state, data)
    trained = RunConfig.model_validate(state.config["run"])
    sessions = record.get("sessions") or [{}]
    device = str(sessions[-1].get("device") or "cpu").partition(": ")[0]
    edited = tuple(differing(run.config, trained, ("in config.toml", "when it was trained")))
    return Original(folder, config, prepared, bank, device, edited, record)


def _read_record(path: Path) -> dict[str, Any]:
    content = read_run_record(path)
    if content is None:
        raise FileNotFoundError(f"{path}: not there, so that nothing says where the run's data are")
    if content.get("data") is None:
        raise ValueError(f"{path}: expected an object with the key data")
    return content


def _checked_bank(run: RunFolder, state: TrainState) -> Path | None:
    if state.identity.bank is None:
        return None
    if not run.bank.is_file():
        raise FileNotFoundError(
            f"{run.bank}: the run's copy of its bank is gone; put back the bank of digest "
            f"{state.identity.bank[:12]}"
        )
    digest = Bank.read(run.bank).digest
    if digest != state.identity.bank:
        raise ValueError(
            f"{run.bank} has changed: its digest is {digest[:12]}, and the run was trained with "
            f"{state.identity.bank[:12]}"
        )
    return run.bank


def _checked_data(
    run: RunFolder, record: dict[str, Any], state: TrainState, data: Path | None
) -> Prepared:
    root = Path(record["data"]) if data is None else data
    if not root.is_dir():
        moved = f"the run's data were in {root}" if data is None else f"--data {root}"
        raise FileNotFoundError(f"{moved}: there is no such folder; name it by --data FOLDER")
    prepared = load_prepared(root)
    digest = data_digest(prepared)
    if digest != state.identity.data:
        now, before = claim_of_data(prepared).words, state.config.get("trained_on", "other data")
        raise ValueError(
            f"{root} has changed: it is {now} (digest {digest[:12]}), and {run.path} was trained "
            f"on {before} (digest {str(state.identity.data)[:12]})"
        )
    return prepared


def compare_runs(original: Path, repeated: Path) -> Comparison:
    """Compare log and last weights of two finished runs.

    Raises:
        FileNotFoundError, ValueError: a log or checkpoint is missing or damaged.
    """
    logs = [_records(RunFolder(folder).log) for folder in (original, repeated)]
    states = [load(RunFolder(folder).last) for folder in (original, repeated)]
    first: tuple[Difference, ...] = ()
    largest = (0.0, 0)
    for key in (key for key in logs[0] if key in logs[1]):
        differences = tuple(_differences(key[0], logs[0][key], logs[1][key]))
        first = first or differences
        for each in differences:
            if each.key == "loss":
                size = max(abs(each.before), abs(each.now)) or 1.0
                largest = max(largest, (abs(each.before - each.now) / size, each.step))
    if not first and logs[0].keys() != logs[1].keys():
        step = min(logs[0].keys() ^ logs[1].keys())[0]
        counts = [len(log) for log in logs]
        first = (Difference(step, "number of records", *counts),)
    return Comparison(
        len(logs[0].keys() & logs[1].keys()),
        first,
        largest,
        weights_digest(states[0].method),
        _weight_differences(states[0].method, states[1].method),
    )


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """The sha256 of weights: names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].contiguous().cpu()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def other_conditions(original: Mapping[str, Any], repeated: Mapping[str, Any]) -> list[str]:
    """Versions, device and threads that were others, from the `run.json` of two runs."""
    before, now = (
        _conditions((record.get("sessions") or [{}])[-1]) for record in (original, repeated)
    )
    return [
        f"{key} {before[key]} then, {now[key]} now"
        for key in before
        if key in now and before[key] != now[key]
    ]


def _conditions(session: Mapping[str, Any]) -> dict[str, Any]:
    git = session.get("git") or {}
    return {
        **(session.get("versions") or {}),
        "platform": session.get("platform"),
        "device": session.get("device"),
        **({"threads": session["threads"]} if "threads" in session else {}),
        **({"commit": str(git["commit"])[:12]} if "commit" in git else {}),
    }


def _records(path: Path) -> dict[tuple[int, str], dict[str, Any]]:
    """Records by step and kind, in the order of the log."""
    records = {}
    for record in read_log(path):
        kind = next((key for key in ("labeled_voxels", "loss", "validation") if key in record), "")
        if kind:
            records[record["step"], kind] = record
    return records


def _differences(step: int, before: Any, now: Any, key: str = "") -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in [*before, *(name for name in now if name not in before)]:
            if name not in _IGNORED:
                inner = f"{key}.{name}" if key else name
                yield from _differences(step, before.get(name), now.get(name), inner)
    elif before != now and not (before != before and now != now):  # NaN: a score without a case
        yield Difference(step, key, before, now)


def _weight_differences(
    before: Mapping[str, Tensor], now: Mapping[str, Tensor]
) -> dict[str, float]:
    """The largest difference of each weight that differs; infinite for one that is not in both."""
    differing_weights = {}
    for name in sorted(before.keys() | now.keys()):
        one, other = before.get(name), now.get(name)
        if one is None or other is None or one.shape != other.shape:
            differing_weights[name] = float("inf")
        elif not torch.equal(one, other):
            differing_weights[name] = float((one.double() - other.double()).abs().max())
    return differing_weights
