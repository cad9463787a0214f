"""A recipe as TOML with the meaning of every key; the text is itself a recipe."""

import textwrap
from typing import Any

import tomli_w
from pydantic import BaseModel

from pipeline.config.documentation import Key, keys_of, options_of, summary
from pipeline.config.options import RESERVED, Choice, constructor
from pipeline.config.recipe import HeadConfig, RunConfig
from segmentation.networks.heads.base.head import Head

_WIDTH = 96


def annotated(config: RunConfig) -> str:
    """Every table of a recipe, fully resolved; keys without a value are commented out."""
    lines: list[str] = []
    tables = []
    for key in keys_of(RunConfig):
        value = getattr(config, key.name)
        if isinstance(value, BaseModel):
            tables.append((key, value))
        else:
            lines += _entry(key, value)
    for key, value in tables:
        lines += ["", *_comment(key.meaning), f"[{key.name}]"]
        keys, values = _content(key.name, value)
        for inner in keys:
            lines += _entry(inner, values.get(inner.name, inner.default))
    return "\n".join(lines) + "\n"


def _content(table: str, value: BaseModel) -> tuple[list[Key], dict[str, Any]]:
    """The keys of a table, those of its choice included, and their values."""
    if isinstance(value, HeadConfig):
        keys = keys_of(HeadConfig)
        known = {key.name for key in keys}
        own = options_of(constructor(table, value.name) or Head, RESERVED)
        return [*keys, *(key for key in own if key.name not in known)], dict(value)
    if not isinstance(value, Choice):
        return keys_of(type(value)), dict(value)
    kind = constructor(table, value.name)
    name = Key("name", "text", None, True, "" if kind is None else summary(kind))
    options = [] if kind is None else options_of(kind, RESERVED)
    return [name, *options], {"name": value.name, **value.options}


def _entry(key: Key, value: Any) -> list[str]:
    unset = "" if value is not None else f"{key.name} = "
    head = f"{key.kind}. {key.meaning}" if key.meaning else key.kind
    comment = _comment(head)
    if unset:
        return [*comment, f"# {key.name} is not set"]
    text = tomli_w.dumps({key.name: _plain(value)}).strip()
    return [*comment, " ".join(text.split()) if isinstance(value, tuple | list) else text]


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH)]
