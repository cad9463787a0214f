"""Options that take all words up to the next option: `--classes liver spleen`, `--job a=1 b=2`."""

from typing import Any

from typer.core import TyperCommand

MANY = ("--classes", "--job")


class ManyWords(TyperCommand):
    """A command whose options of `MANY` may be followed by several words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Rewrite `--classes a b` as `--classes a --classes b` for click."""
        spread: list[str] = []
        option = None
        for word in args:
            if word.startswith("-"):
                option = word if word in MANY else None
            elif option and spread[-1] != option:
                spread.append(option)
            spread.append(word)
        return super().parse_args(ctx, spread)
