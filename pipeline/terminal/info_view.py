"""The catalog of choices in the terminal."""

from collections.abc import Sequence
from typing import Protocol

from rich.console import Console
from rich.padding import Padding
from rich.text import Text


class ShownKey(Protocol):
    """An option with its type, default and meaning."""

    @property
    def name(self) -> str:
        """Its key in a recipe."""

    @property
    def kind(self) -> str:
        """Its type and limits."""

    @property
    def default(self) -> object:
        """Its default; None where required."""

    @property
    def required(self) -> bool:
        """Whether a value must be given."""

    @property
    def meaning(self) -> str:
        """Its meaning, from the docstring."""


class ShownEntry(Protocol):
    """An entry of the catalog."""

    @property
    def kind(self) -> str:
        """Its kind, such as method."""

    @property
    def name(self) -> str:
        """Its name, such as magicnet."""

    @property
    def summary(self) -> str:
        """A description in one line."""

    @property
    def origin(self) -> str:
        """The package or folder of a plugin; empty for what comes with tak-seg."""

    @property
    def options(self) -> Sequence[ShownKey]:
        """Its options: the keys of its table in a recipe."""

    @property
    def usage(self) -> Sequence[str]:
        """Example commands."""


def show_entries(entries: Sequence[ShownEntry], *, detailed: bool) -> None:
    """Print entries by kind, one line each, or with their options."""
    console = Console()
    last = ""
    for entry in entries:
        if entry.kind != last:
            console.print(Text(f"\n{entry.kind}" if last else entry.kind, style="bold"))
            last = entry.kind
        text = Text(f"{entry.name}  ", style="cyan") + Text(entry.summary, style="default")
        if entry.origin:
            text += Text(f"  ({entry.origin})", style="dim")
        console.print(Padding(text, (0, 0, 0, 2)))
        if detailed:
            _show_details(console, entry)


def _shown(value: object) -> str:
    if value is None:
        return "not set"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _show_details(console: Console, entry: ShownEntry) -> None:
    for form in entry.usage:
        console.print(Padding(Text(form), (0, 0, 0, 4)))
    for key in entry.options:
        default = "required" if key.required else f"default {_shown(key.default)}"
        head = Text(f"{key.name}", style="cyan") + Text(f"  {key.kind}; {default}")
        console.print(Padding(head, (0, 0, 0, 4)))
        console.print(Padding(Text(key.meaning), (0, 0, 0, 8)))
