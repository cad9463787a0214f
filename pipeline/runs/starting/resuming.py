"""Checks that a run is resumed with its configuration, bank and data."""

import json
from pathlib import Path
from typing import Any

from knowledge.common.files import parse_toml, read_text
from knowledge.common.models import checked
from pipeline.config.recipe import RunConfig
from pipeline.config.registry import recipe_plugins
from pipeline.runs.folder import RunFolder
from pipeline.runs.run_record import read_run_record
from segmentation.training.checkpoint import Identity, load

MOST_KEYS = 6  # that differ, in one message


def check_config(folder: Path, config: RunConfig) -> None:
    """Refuse to resume a run with another configuration than it was started with.

    Raises:
        FileNotFoundError: no run there.
        ValueError: names the differing keys, with both values and a remedy.
    """
    path = RunFolder(folder).config
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no run to resume there; omit --resume to start one")
    faults = differing(path, config)
    if faults:
        more = f" and {len(faults) - MOST_KEYS} more" if len(faults) > MOST_KEYS else ""
        raise ValueError(
            f"{path} differs from the configuration given now: {'; '.join(faults[:MOST_KEYS])}"
            f"{more}. {_what_to_do(folder)}"
        )


def differing(
    path: Path, config: RunConfig, sides: tuple[str, str] = ("in the run", "given")
) -> list[str]:
    """Keys that differ from a run's `config.toml`, each with both values.

    A file that is no configuration of this version gives one message in place of keys.
    """
    content = parse_toml(read_text(path), path)
    try:
        before, now = _flat(checked(content, RunConfig, path)), _flat(config)
    except ValueError as fault:  # of another version, or written by hand
        return [f"no configuration of this version ({fault})"]
    return [
        f"{key} is {_shown(before, key)} {sides[0]}, {_shown(now, key)} {sides[1]}"
        for key in sorted(before | now)
        if before.get(key) != now.get(key)
    ]


def check_inputs(folder: Path, now: Identity, bank: Path | None, data: Path, words: str) -> None:
    """Refuse to resume a run with another bank or other data than it was started with.

    Args:
        bank, data: the files that `now` was read from.
        words: protocol and split of `data`, in words.

    Raises:
        ValueError: names the difference, with both values and a remedy.
    """
    noted = read_run_record(RunFolder(folder).provenance)
    if noted is None:
        return  # the checkpoint itself is compared as well
    was_bank, was_data = noted.get("bank_digest"), noted.get("data_digest")
    if was_bank != now.bank:
        copy = RunFolder(folder).bank
        raise ValueError(
            f"{folder} was trained with the bank {str(was_bank)[:12]}, and {bank} is "
            f"{str(now.bank)[:12]}; without --bank the run takes its own copy, {copy}; "
            "another bank makes another run: -o"
        )
    if was_data != now.data:
        last = RunFolder(folder).last
        before = load(last).config.get("trained_on", "") if last.is_file() else ""
        was = f"on {before}" if before and before != words else "on other cases or another grid"
        raise ValueError(
            f"{folder} was trained {was}, and {data} is {words}: prepared or split in another "
            f"way. {_what_to_do(folder)}"
        )


def changed_plugins(folder: Path, config: RunConfig) -> list[str]:
    """A warning per plugin whose code differs from that of the run's last session."""
    sessions = _sessions(folder)
    before = sessions[-1].get("plugins", {})
    return [
        f"the code of {name} has changed since the run was trained: its steps differ from here on"
        for name, digest in recipe_plugins(config.model_dump()).items()
        if before.get(name, digest) != digest
    ]


def recorded_data(folder: Path) -> Path:
    """The prepared data that a run was trained on, as it records them.

    Raises:
        FileNotFoundError: no run there, or its data have moved.
        ValueError: a run of an earlier version, which does not record them.
    """
    content = read_run_record(RunFolder(folder).provenance)
    if content is None:
        raise FileNotFoundError(f"{folder}: no run to resume there; give the prepared data and -o")
    if not isinstance(content.get("data"), str):
        raise ValueError(f"{folder}: the run does not record its data; give the prepared folder")
    data = Path(content["data"])
    if not data.is_dir():
        raise FileNotFoundError(
            f"{folder}: its data were in {data}, which is not there; give the prepared folder"
        )
    return data


def _sessions(folder: Path) -> list[dict[str, Any]]:
    record = read_run_record(RunFolder(folder).provenance) or {}
    return record.get("sessions") or [{}]


def _what_to_do(folder: Path) -> str:
    """The remedy: the command that started the run, if it is recorded."""
    sessions = _sessions(folder)
    command = sessions[0].get("command")
    again = f"Resume it as it was started, `{command}`, with --resume" if command else ""
    return f"{again or 'Resume it as it was started'}; or start another run with another -o"


def _flat(config: RunConfig) -> dict[str, Any]:
    """Values by dotted key; options of a choice as a recipe writes them."""
    flat: dict[str, Any] = {}
    for table, content in config.model_dump(mode="json", exclude_none=True).items():
        entries = content if isinstance(content, dict) else {"": content}
        for key, value in {**entries, **entries.get("options", {})}.items():
            if key != "options":
                flat[f"{table}.{key}" if key else table] = value
    return flat


def _shown(flat: dict[str, Any], key: str) -> str:
    return json.dumps(flat[key], ensure_ascii=False) if key in flat else "not set"
