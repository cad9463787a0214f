"""`tak info`: everything that can be chosen by name."""

from typing import Annotated

import typer

KEPT = "nothing was changed"  # after a signal


def info(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="A kind, such as method, or a name. [default: all]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List methods, losses, heads, alignments, encoders, providers, recipes, data sets ...

    With a name: its options with types, defaults and meanings.

    Example: `tak info method`, `tak info magicnet`, `tak info --json`
    """
    import json
    from dataclasses import asdict

    from pipeline.config.catalog import catalog, find

    entries = catalog() if name is None else find(name)
    if as_json:
        commands = getattr(context.find_root().command, "commands", {})
        content = {"commands": sorted(commands), "entries": [asdict(entry) for entry in entries]}
        typer.echo(json.dumps(content, indent=1, default=str, ensure_ascii=False))
        return
    from pipeline.terminal.info_view import show_entries

    show_entries(entries, detailed=name is not None and len(entries) < 4)
