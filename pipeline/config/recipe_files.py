"""Recipe files and changes to them, read into a checked RunConfig."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from knowledge.common.files import read_text
from knowledge.common.models import keys_at
from knowledge.common.suggest import nearest
from pipeline.config.options import Choice, faults_of
from pipeline.config.recipe import RunConfig

MOST_TOLD = 3  # faults in one message


def read_config(path: Path, changes: Sequence[str] = (), *, option: str = "--set ") -> RunConfig:
    """A recipe with changes applied.

    Args:
        path: TOML file.
        changes: `table.key=value`, the value in TOML or a bare word.
        option: what a message puts before a change that it quotes.

    Raises:
        FileNotFoundError, ValueError: no file, not TOML, an unknown key or an impossible value;
            the message names the file, or quotes the change, and the key.
    """
    try:
        content = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as fault:
        raise ValueError(f"{path} is not valid TOML: {fault}") from None
    for table in RunConfig.model_fields:
        inner = content.get(table)
        if _is_choice(table) and isinstance(inner, dict) and isinstance(inner.get("options"), dict):
            content[table] = {**inner.pop("options"), **inner}
    for change in changes:
        _apply(content, change, option)
    try:
        config = RunConfig.model_validate(content)
        found = list(faults_of(config))
    except ValidationError as fault:
        found = _complaints(fault, content)
    if found:
        told: dict[str, list[str]] = {}
        for key, reason in found[:MOST_TOLD]:
            wrong = told.setdefault(_culprit(path, changes, option, key, reason), [])
            wrong.append(f"{key}: {reason}" if key else reason)
        raise ValueError("; ".join(f"{who}: {'; '.join(what)}" for who, what in told.items()))
    return config


def _culprit(path: Path, changes: Sequence[str], option: str, key: str, reason: str) -> str:
    """Whose key is wrong: that of the last change that sets it, or of what it lies in; the file.

    A fault of several keys together has none of its own, but names them in its reason.
    """
    for change in reversed(changes):
        own = ".".join(_path_of(change))
        if f"{own}.".startswith(f"{key}.") or f"{key}.".startswith(f"{own}."):
            return f"{option}{change}"
    by = [f"{option}{change}" for change in changes if change.partition("=")[0] in reason]
    return f"{path} with {', '.join(by)}" if by and not key else str(path)


def _complaints(fault: ValidationError, content: dict[str, Any]) -> list[tuple[str, str]]:
    """What pydantic found, by dotted key; the branches of a choice of types told together."""
    told: dict[str, list[str]] = {}
    for item in fault.errors():
        table, key = _table_of(item["loc"])
        reason = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            reason = _unknown_key(item["loc"], content)
        elif item["type"] == "missing":
            few = len(item["loc"]) > len(table) + 1
            reason = f"a value is missing in {item['input']!r}" if few else "missing key"
        elif item["type"] == "model_type":
            reason = f"is a table of keys, not {item['input']!r}"
        elif key and not isinstance(item["input"], dict):
            reason = f"{reason[0].lower()}{reason[1:]}, not {item['input']!r}"
        told.setdefault(".".join((*table, key)) if key else "", []).append(reason)
    return [(key, ", or ".join(dict.fromkeys(reasons))) for key, reasons in told.items()]


def _table_of(place: tuple[str | int, ...]) -> tuple[tuple[str, ...], str]:
    """The table and the key of pydantic's place, less indices and branches within a value."""
    table: tuple[str, ...] = ()
    for part in map(str, place):
        if not keys_at(RunConfig, (*table, part)):
            return table, part
        table = (*table, part)
    return (table[:-1], table[-1]) if table else ((), "")


def _unknown_key(place: tuple[str | int, ...], content: dict[str, Any]) -> str:
    """That a key is unknown, the nearest one, and the keys of its table."""
    *table, key = map(str, place)
    known = keys_at(RunConfig, table)
    near = nearest(key, known)
    found = [*table, near] if near else []
    inner = content.get(key) if not table else None
    if near and isinstance(inner, dict) and inner:  # a table that was meant for what it holds
        held = next(iter(inner))
        if _is_choice(near):
            found = [near, held]
        elif known_there := keys_at(RunConfig, [near]):
            table, known = [near], known_there
            found = [near, nearest(held, known) or held]
    meant = f"did you mean {'.'.join(found)}? " if found else ""
    return f"unknown key; {meant}{f'[{table[0]}]' if table else 'a recipe'} has {', '.join(known)}"


def _is_choice(table: str) -> bool:
    return RunConfig.model_fields[table].annotation is Choice


def _path_of(change: str) -> list[str]:
    """The tables and the key that a change sets.

    A run's config.toml writes the options of a choice as a table, `method.options.cube`; a recipe
    writes `method.cube`. Both are understood.
    """
    path = change.partition("=")[0].strip().split(".")
    spelled_out = len(path) == 3 and path[1] == "options" and path[0] in RunConfig.model_fields
    return [path[0], path[2]] if spelled_out and _is_choice(path[0]) else path


def _apply(content: dict[str, Any], change: str, option: str) -> None:
    name, equals, text = change.partition("=")
    if not equals:
        raise ValueError(f"{option}{change}: write it as table.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, key = _path_of(name)
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise ValueError(f"{option}{change}: {table!r} is not a table")
    content[key] = value
