"""Registries: a folder of modules is a registry, its module names are the choices."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from knowledge.common.suggest import did_you_mean

T = TypeVar("T")


def names(package: str) -> list[str]:
    """The names that can be chosen from a package, sorted: its modules, none of them imported."""
    folder = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(folder) if not module.ispkg)


def canonical(name: str, known: Iterable[str]) -> str:
    """The known name that equals `name` but for `-` and `_`; `name` itself if there is none."""
    by_plain = {each.replace("_", "-"): each for each in known}
    return by_plain.get(name.replace("_", "-"), name)


def load_choice(package: str, name: str, base: type[T]) -> type[T]:
    """The one subclass of `base` that the module `name` of a package defines.

    Raises:
        LookupError: no such module; the message lists those that exist.
        TypeError: the module defines no such class, or several.
    """
    known = names(package)
    name = canonical(name, known)
    if name not in known:
        raise LookupError(
            f"no {name!r} in {package}; there is {', '.join(known)}{did_you_mean(name, known)}"
        )
    module = importlib.import_module(f"{package}.{name}")
    kinds = [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, base) and kind.__module__ == module.__name__
    ]
    if len(kinds) != 1:
        raise TypeError(
            f"{package}.{name}: expected one subclass of {base.__name__}, got {len(kinds)}"
        )
    return kinds[0]


def states(package: str, name: str, attribute: str) -> bool:
    """Whether the class of a choice sets an attribute to True, read from its source.

    For plans, which must not wait for torch to be imported; inherited values are not seen.
    """
    folder = importlib.import_module(package).__path__[0]
    path = Path(folder) / f"{canonical(name, names(package))}.py"
    if not path.is_file():
        return False
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for kind in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for line in kind.body:
            targets = line.targets if isinstance(line, ast.Assign) else []
            named = [node.id for node in targets if isinstance(node, ast.Name)]
            if attribute in named and isinstance(line, ast.Assign):
                return isinstance(line.value, ast.Constant) and line.value.value is True
    return False
