"""Registries: a folder of modules and plugins; the names of the modules are the choices."""

import ast
import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from knowledge.common.suggest import did_you_mean
from pipeline.config.plugins import (
    GROUPS,
    Source,
    plugin_folders,
    plugin_sources,
    shipped_sources,
)

T = TypeVar("T")
# Packages of the choices that a recipe makes, by table.
TABLES = {
    "method": "segmentation.methods",
    "head": "segmentation.networks.heads",
    "alignment": "segmentation.networks.alignments",
}


def names(package: str) -> list[str]:
    """The names that can be chosen from a package or its plugins, sorted; none is imported."""
    return sorted({source.name for source in _sources(package)})


def shipped_names(package: str) -> list[str]:
    """The names that come with tak-seg, sorted: for help texts, which must not search plugins."""
    return [source.name for source in shipped_sources(package)]


def canonical(name: str, known: Iterable[str]) -> str:
    """The known name that equals `name` but for `-` and `_`; `name` itself if there is none."""
    by_plain = {each.replace("_", "-"): each for each in known}
    return by_plain.get(name.replace("_", "-"), name)


def source_of(package: str, name: str) -> Source:
    """The module of a choice.

    Raises:
        LookupError: no such choice; the message lists those that exist.
        ValueError: several modules have that name.
    """
    known = names(package)
    name = canonical(name, known)
    chosen = [source for source in _sources(package) if source.name == name]
    if not chosen:
        plugin_folders()  # a folder of plugins that does not exist explains a missing name
        raise LookupError(
            f"no {name!r} in {package}; there is {', '.join(known)}{did_you_mean(name, known)}"
        )
    if len(chosen) > 1:
        origins = " and ".join(source.origin or "tak-seg itself" for source in chosen)
        raise ValueError(f"{name!r} in {package} comes from {origins}: rename one of them")
    return chosen[0]


def plugin_digests(chosen: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of the source of every choice (package: name) that is a plugin, by group and name.

    Part of keys and records: the code of a plugin has no version of tak-seg.
    """
    digests = {}
    for package, name in chosen.items():
        for source in plugin_sources(package):
            if source.name == canonical(str(name), [source.name]):
                digests[f"{GROUPS[package]}/{source.name}"] = source.digest()
    return digests


def recipe_plugins(recipe: Mapping[str, Any]) -> dict[str, str]:
    """`plugin_digests` of the method, head and alignment that the tables of a recipe name."""
    return plugin_digests(
        {TABLES[table]: recipe[table].get("name") for table in TABLES if recipe.get(table)}
    )


def load_choice(package: str, name: str, base: type[T]) -> type[T]:
    """The one subclass of `base` that the module of a choice defines.

    Raises:
        LookupError: no such choice; the message lists those that exist.
        TypeError: the module defines no such class, or several.
        ValueError: several choices of that name, or a plugin that cannot be imported.
    """
    source = source_of(package, name)
    module = source.load()
    kinds = [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, base) and kind.__module__ == module.__name__
    ]
    if len(kinds) != 1:
        fault = f"expected one subclass of {base.__name__}, got {len(kinds)}"
        if source.origin:
            raise ValueError(f"{source.file()}: {fault}")
        raise TypeError(f"{source.module}: {fault}")
    return kinds[0]


def states(package: str, name: str, attribute: str) -> bool:
    """Whether the class of a choice sets an attribute to True, read from its source.

    For plans, which must not wait for torch to be imported; inherited values are not seen.
    """
    if canonical(name, known := names(package)) not in known:
        return False
    tree = ast.parse(source_of(package, name).file().read_text(encoding="utf-8"))
    for kind in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for line in kind.body:
            targets = line.targets if isinstance(line, ast.Assign) else []
            if isinstance(line, ast.AnnAssign):
                targets = [line.target]
            named = [node.id for node in targets if isinstance(node, ast.Name)]
            if attribute in named and isinstance(line, ast.Assign | ast.AnnAssign):
                return isinstance(line.value, ast.Constant) and line.value.value is True
    return False


def _sources(package: str) -> list[Source]:
    return [*shipped_sources(package), *plugin_sources(package)]
