"""The verbs of a bank: inspect."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `tak bank ...`."""
    group = typer.Typer(no_args_is_help=True, help="Look at banks of text vectors.")
    group.command()(inspect)
    app.add_typer(group, name="bank")


def inspect(
    bank: Annotated[Path, typer.Argument(help="A bank made by `tak encode`.")],
    texts: Annotated[bool, typer.Option(help="Print the texts too.")] = True,
) -> None:
    """Print what a bank holds: names, encoder, origin, token counts, texts.

    Example: `tak bank inspect bank.h5`
    """
    from knowledge.bank import Bank
    from pipeline.encoding import tables

    tables(Bank.read(bank), texts=texts)
