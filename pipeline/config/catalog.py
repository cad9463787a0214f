"""Everything that can be chosen by name, read from registries, signatures, docstrings and files."""

import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from knowledge.bank.control_kinds import KINDS as CONTROLS
from knowledge.common.suggest import unknown
from knowledge.encoders.base.encoder import TextEncoder
from knowledge.providers.base.provider import Provider
from pipeline.config.documentation import Key, keys_of, options_of, summary
from pipeline.config.options import RESERVED, Choice, choices, constructor
from pipeline.config.recipe import RunConfig
from pipeline.config.registry import TABLES, canonical, load_choice, names, source_of
from pipeline.files import shipped
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.layouts import LAYOUTS
from segmentation.evaluation.rules import RULES


@dataclass(frozen=True)
class Entry:
    """One thing that can be chosen.

    Attributes:
        kind: a key of `_KINDS`, such as method, encoder, recipe or study.
        options: keys of a recipe's table, where the kind has one.
        origin: the package or folder of a plugin; empty for what comes with tak-seg.
    """

    kind: str
    name: str
    summary: str
    options: tuple[Key, ...] = ()
    usage: tuple[str, ...] = field(default=())
    origin: str = ""


def catalog() -> list[Entry]:
    """Every entry, by kind and name."""
    return [entry for entries in _KINDS.values() for entry in entries()]


def find(name: str) -> list[Entry]:
    """The entries of a name, or all of a kind.

    Raises:
        LookupError: no such name or kind; suggests a near one.
    """
    entries = catalog()
    known = {entry.name for entry in entries} | set(_KINDS)
    wanted = canonical(name, known)
    chosen = [entry for entry in entries if wanted in (entry.name, entry.kind)]
    if not chosen:
        raise LookupError(unknown("entry", name, sorted(known)))
    return chosen


def _of_table(table: str) -> list[Entry]:
    entries = []
    for name in choices(table):
        kind = constructor(table, name)
        options = () if kind is None else tuple(options_of(kind, RESERVED))
        if kind is None:
            text = "No alignment of text and features."
        else:  # the module of a method names its paper
            text = summary(sys.modules[kind.__module__] if table == "method" else kind)
        registered = kind is not None and table in TABLES
        origin = source_of(TABLES[table], name).origin if registered else ""
        entries.append(Entry(table, name, text, options, origin=origin))
    return entries


def _tables() -> list[Entry]:
    """The tables of a recipe whose keys do not depend on a choice."""
    models = {name: field.annotation for name, field in RunConfig.model_fields.items()}
    return [
        Entry("table", name, summary(model), tuple(keys_of(model)))
        for name, model in models.items()
        if isinstance(model, type) and issubclass(model, BaseModel) and model is not Choice
    ]


def _encoders() -> list[Entry]:
    entries = []
    for name in names("knowledge.encoders"):
        kind = load_choice("knowledge.encoders", name, TextEncoder)
        origin, usage = source_of("knowledge.encoders", name).origin, (*kind.forms, *kind.hub_forms)
        entries.append(Entry("encoder", name, summary(kind), usage=usage, origin=origin))
    return entries


def _providers() -> list[Entry]:
    entries = []
    for name in names("knowledge.providers"):
        text = summary(load_choice("knowledge.providers", name, Provider))
        origin = source_of("knowledge.providers", name).origin
        entries.append(Entry("provider", name, text, origin=origin))
    return entries


def _controls() -> list[Entry]:
    return [Entry("control", name, text) for name, text in CONTROLS.items()]


def _layouts() -> list[Entry]:
    return [Entry("layout", name, layout.expected) for name, layout in LAYOUTS.items()]


def _rules() -> list[Entry]:
    return [
        Entry(
            "rules", rules.name, f"{rules.facts['grid']}: {', '.join(m.key for m in rules.metrics)}"
        )
        for rules in RULES
    ]


def _files(kind: str, folder: str) -> Callable[[], list[Entry]]:
    def entries() -> list[Entry]:
        paths = [shipped.find(folder, name) for name in shipped.names(folder)]
        return [Entry(kind, path.stem, _title(path)) for path in paths]

    return entries


def _descriptors() -> list[Entry]:
    paths = [shipped.find("data", name) for name in shipped.names("data")]
    return [Entry("descriptor", path.stem, DatasetSpec.read(path).title) for path in paths]


def _protocols() -> list[Entry]:
    folder = shipped.reference("data") / "protocols"
    return [Entry("protocol", path.stem, _title(path)) for path in sorted(folder.glob("*.toml"))]


def _title(path: Path) -> str:
    content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    return str(content.get("title", ""))


_KINDS: dict[str, Callable[[], list[Entry]]] = {
    "method": lambda: _of_table("method"),
    "loss": lambda: _of_table("loss"),
    "head": lambda: _of_table("head"),
    "alignment": lambda: _of_table("alignment"),
    "table": _tables,
    "encoder": _encoders,
    "provider": _providers,
    "layout": _layouts,
    "rules": _rules,
    "recipe": _files("recipe", "recipes"),
    "study": _files("study", "studies"),
    "benchmark": _files("benchmark", "benchmarks"),
    "control": _controls,
    "descriptor": _descriptors,
    "protocol": _protocols,
    "wording": _files("wording", "prompts"),
}
KINDS = tuple(_KINDS)
