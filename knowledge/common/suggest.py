"""Suggestions for mistyped names."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The most similar known name, letter case and dashes ignored; None if none is similar."""
    by_normalized = {_normalized(each): each for each in known}
    matches = get_close_matches(_normalized(name), by_normalized, n=1, cutoff=0.6)
    return by_normalized[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean NAME?` for the end of a message; empty if no known name is similar."""
    suggestion = nearest(name, known)
    return "" if suggestion is None else f"; did you mean {suggestion}?"


def unknown(kind: str, name: str, known: Sequence[str], where: str = "") -> str:
    """An error message for an unknown choice: the known ones, and a suggestion.

    Args:
        where: follows the name, as in `no organ 'livr' in amos; there is ...`.
    """
    place = f" {where}" if where else ""
    listed = ", ".join(known) or "none"
    return f"no {kind} {name!r}{place}; there is {listed}{did_you_mean(name, known)}"


def _normalized(name: str) -> str:
    return name.casefold().replace("_", "-").replace(" ", "-")
