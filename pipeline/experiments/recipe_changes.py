"""The settings of a cell as changes of its recipe."""

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import tomli_w

from knowledge.common.files import parse_toml, read_text
from pipeline.config.registry import states
from pipeline.experiments.study import Study
from pipeline.experiments.study_file import Value
from pipeline.files import shipped


def recipe_changes(settings: Mapping[str, Value]) -> dict[str, Value]:
    """Changes of a cell in its recipe by dotted key, without the seed."""
    changes: dict[str, Value] = {}
    for table in ("method", "loss", "head", "alignment"):
        if table in settings:  # replace the table: options of another choice would not fit
            changes[table] = {"name": settings[table]}
    if "aspects" in settings:
        aspects = settings["aspects"]
        changes["text.aspects"] = [aspects] if isinstance(aspects, str) else list(aspects)
    changes |= {key: value for key, value in settings.items() if "." in key}
    return changes


def as_words(changes: Mapping[str, Value]) -> list[str]:
    """Changes of a recipe in the form that `--set` takes."""
    words = []
    for key, value in changes.items():
        if isinstance(value, dict):
            inner = ", ".join(f"{name} = {_toml(item)}" for name, item in value.items())
            words.append(f"{key}={{{inner}}}")
        else:
            words.append(f"{key}={_toml(value)}")
    return words


def _toml(value: Value) -> str:
    text = tomli_w.dumps({"value": value}).removeprefix("value = ").strip()
    return " ".join(text.split())


@cache
def _content(recipe: Path) -> dict[str, Any]:
    """The tables of a recipe file, parsed once for all cells."""
    return parse_toml(read_text(recipe), recipe)


def raw_recipe(recipe: Path, changes: Mapping[str, Value]) -> dict[str, Any]:
    """The tables of a recipe file with changes applied, unchecked: enough for a digest.

    Raises:
        ValueError: not TOML.
    """
    content = copy.deepcopy(_content(recipe))
    for key, value in changes.items():
        *tables, last = key.split(".")
        place = content
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = value
    return content


def reads_text(recipe: Mapping[str, Any]) -> bool:
    """Whether head, alignment or text blocks of a raw recipe read text; does not import torch."""
    if recipe.get("text", {}).get("block_levels", 0):
        return True
    head = recipe.get("head", {}).get("name", "conv")
    alignment = recipe.get("alignment", {}).get("name", "none")
    return alignment != "none" or states("segmentation.networks.heads", head, "reads_text")


def find_recipe(study: Study, name: str) -> Path:
    """The recipe of a shipped name, or of a path relative to the study."""
    return shipped.find("recipes", study.resolve(name))
