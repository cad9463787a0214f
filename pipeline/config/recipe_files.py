"""Recipe files and changes to them, read into a checked RunConfig."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from knowledge.common.files import parse_toml, read_text
from knowledge.common.models import keys_at, meant_choice
from knowledge.common.suggest import nearest
from knowledge.common.text import one_line
from pipeline.config.options import WRONG_CHOICE, Choice
from pipeline.config.recipe import RunConfig

_LONGEST = 400  # characters of a reason
MOST_FAULTS = 3  # in one message


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
    content = parse_toml(read_text(path), path)
    for table in RunConfig.model_fields:
        inner = content.get(table)
        if _is_choice(table) and isinstance(inner, dict) and isinstance(inner.get("options"), dict):
            content[table] = {**inner.pop("options"), **inner}
    for change in changes:
        _apply(content, change, option)
    try:
        return RunConfig.model_validate(content)
    except ValidationError as fault:
        faults = _faults(fault, content)
    by_source: dict[str, list[str]] = {}
    for key, reason in faults[:MOST_FAULTS]:
        reasons = by_source.setdefault(_source(path, changes, option, key, reason), [])
        reasons.append(f"{key}: {reason}" if key else reason)
    raise ValueError(
        "; ".join(
            f"{source}: {one_line('; '.join(text), 480)}" for source, text in by_source.items()
        )
    )


def _source(path: Path, changes: Sequence[str], option: str, key: str, reason: str) -> str:
    """The source of a wrong key: the last change that sets it, its table or the table's choice.

    Otherwise the file. A fault of several keys together has no key, but names them in its reason.
    """
    for change in reversed(changes):
        changed = ".".join(_path_of(change))
        if f"{changed}.".startswith(f"{key}.") or f"{key}.".startswith(f"{changed}."):
            return f"{option}{change}"
    table = key.partition(".")[0]
    for change in reversed(changes):
        if key and _path_of(change) == [table, "name"]:
            return f"{option}{change}"
    by = [f"{option}{change}" for change in changes if change.partition("=")[0] in reason]
    return f"{path} with {', '.join(by)}" if by and not key else str(path)


def _faults(fault: ValidationError, content: dict[str, Any]) -> list[tuple[str, str]]:
    """Pydantic's errors by dotted key; the branches of a union of types are joined by "or"."""
    by_key: dict[str, list[str]] = {}
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
        elif key and item["type"] != WRONG_CHOICE and not isinstance(item["input"], dict):
            reason = f"{reason[0].lower()}{reason[1:]}, not {item['input']!r}{meant_choice(item)}"
        by_key.setdefault(".".join((*table, key)) if key else "", []).append(reason)
    return [
        (one_line(key, 80), one_line(", or ".join(dict.fromkeys(reasons)), _LONGEST))
        for key, reasons in by_key.items()
    ]


def _table_of(place: tuple[str | int, ...]) -> tuple[tuple[str, ...], str]:
    """The table and the key of pydantic's location, without indices and branches of a value."""
    table: tuple[str, ...] = ()
    for part in map(str, place):
        if not keys_at(RunConfig, (*table, part)):
            return table, part
        table = (*table, part)
    return (table[:-1], table[-1]) if table else ((), "")


def _unknown_key(place: tuple[str | int, ...], content: dict[str, Any]) -> str:
    """The message for an unknown key: the nearest known key, and the keys of its table."""
    *table, key = map(str, place)
    known = keys_at(RunConfig, table)
    near = nearest(key, known)
    suggestion = [*table, near] if near else []
    inner = content.get(key) if not table else None
    if near and isinstance(inner, dict) and inner:  # a misspelled table: suggest its first key too
        first = next(iter(inner))
        if _is_choice(near):
            suggestion = [near, first]
        elif inner_known := keys_at(RunConfig, [near]):
            table, known = [near], inner_known
            suggestion = [near, nearest(first, known) or first]
    meant = f"did you mean {'.'.join(suggestion)}? " if suggestion else ""
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
