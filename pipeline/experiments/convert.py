"""Conversion of matrices and variants of version 0.1 to studies."""

import os
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import Field

from knowledge.common.files import parse_toml, read_text, read_toml
from knowledge.common.models import Strict
from pipeline.experiments.study_file import RECIPE_TABLES, StudyFile


class FormerModel(Strict):
    """One `[[models]]` table of a matrix."""

    name: str = Field(min_length=1)
    provider: str = "openai_compatible"
    model: str = ""
    base_url: str | None = None
    key_env: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    query: dict[str, str] = Field(default_factory=dict)
    answers: Path | None = None
    output: str | None = None
    temperature: float | None = None
    seed: int | None = None
    max_answer_tokens: int | None = None


class FormerMatrix(Strict):
    """A matrix file of version 0.1: wordings x models, encoded, with no training."""

    organs: str
    templates: tuple[str, ...] = Field(min_length=1)
    models: tuple[FormerModel, ...] = Field(min_length=1)
    encoder: str
    out: Path | None = None
    scans: Path | None = None
    split: str | None = None
    samples: int | None = None
    attempts: int | None = None
    concurrency: int | None = None
    long_text: str | None = None
    prices: Path | None = None
    max_tokens_total: int | None = None
    max_cost: float | None = None


def convert(path: Path, target: Path) -> str:
    """The text of a study that is equivalent to a matrix or a file of variants.

    Relative paths are rewritten for a study at `target`.

    Raises:
        FileNotFoundError, ValueError: no such file, not TOML, or already a study.
    """
    content = parse_toml(read_text(path), path)
    if {"templates", "models"} <= set(content):
        return _dumped(path, "", _from_matrix(read_toml(path, FormerMatrix), path, target))
    if {"title", "data"} <= set(content):
        raise ValueError(f"{path} is already a study")
    comment = (
        "# Set data.root, fixed.recipe, fixed.bank and seeds to the options of `tak sweep`:\n"
        "# PREPARED, --recipe, --bank and --seeds. Changes of --set go to [fixed].\n"
    )
    return _dumped(path, comment, _from_variants(content, path))


def _dumped(path: Path, comment: str, content: dict[str, Any]) -> str:
    StudyFile.model_validate(content)
    return f"# Converted from {path.name}.\n{comment}{tomli_w.dumps(content)}"


def _from_matrix(matrix: FormerMatrix, path: Path, target: Path) -> dict[str, Any]:
    def place(name: str | Path) -> str:
        """A path relative to the matrix, rewritten for the study; a name unchanged."""
        source = path.parent / name
        return os.path.relpath(source, target.parent) if source.exists() else str(name)

    fixed = {
        "encoder": matrix.encoder,
        "long_text": matrix.long_text,
        "samples": matrix.samples,
        "attempts": matrix.attempts,
        "concurrency": matrix.concurrency,
        "prices": matrix.prices and place(matrix.prices),
    }
    data = {
        "descriptor": place(matrix.organs) if "." in matrix.organs else matrix.organs,
        "root": matrix.scans and place(matrix.scans),
        "split": matrix.split,
    }
    limits = {"max_tokens": matrix.max_tokens_total, "max_cost": matrix.max_cost}
    wordings = [place(name) if "." in name else name for name in matrix.templates]
    return {
        "title": f"Wordings and models of {path.name}",
        "until": "bank",
        "check": matrix.scans is not None,
        "data": _given(data),
        "fixed": _given(fixed),
        "arms": [_arm(model, place) for model in matrix.models],
        "axes": {"wording": wordings},
        **({"limits": _given(limits)} if _given(limits) else {}),
    }


def _arm(model: FormerModel, place: Any) -> dict[str, Any]:
    replayed = model.provider == "recorded"
    return _given(
        {
            "name": model.name,
            "provider": model.provider,
            "model": None if replayed else model.model,
            "base_url": model.base_url,
            "key_env": model.key_env,
            "header": [f"{name}={value}" for name, value in model.headers.items()] or None,
            "query": [f"{name}={value}" for name, value in model.query.items()] or None,
            "answers": model.answers and place(model.answers),
            "output": model.output,
            "temperature": model.temperature,
            "model_seed": model.seed,
            "max_answer_tokens": model.max_answer_tokens,
        }
    )


def _given(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value is not None}


def _from_variants(content: dict[str, Any], path: Path) -> dict[str, Any]:
    if not content:
        raise ValueError(f"{path} names no variant; expected tables [NAME] of changes")
    arms = []
    for name, table in content.items():
        if not isinstance(table, dict):
            raise ValueError(f"{path}: {name} = {table!r} is not a table of changes")
        changes = _changes(table)
        for key in changes:
            if key.partition(".")[0] not in RECIPE_TABLES and key != "title":
                raise ValueError(
                    f"{path}: {name}.{key}: no such axis of a study; there is "
                    f"{', '.join(f'{each}.KEY' for each in RECIPE_TABLES)}; a seed goes to seeds"
                )
        changes.pop("title", None)
        arms.append({"name": name, **changes})
    return {
        "title": f"Variants of {path.name}",
        "seeds": [0],
        "data": {"root": "prepared"},
        "fixed": {"recipe": "tak", "bank": "bank.h5"},
        "arms": arms,
    }


def _changes(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{training: {steps: 5}}` as `{"training.steps": 5}`."""
    changes: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            changes |= _changes(value, f"{prefix}{key}.")
        else:
            changes[f"{prefix}{key}"] = value
    return changes
