"""`tak push`: a bank or bundle to the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

import typer

KEPT = "local files stay as they are; the same command starts again"  # after a signal


def push(
    file: Annotated[Path, typer.Argument(help="A bank (.h5) or a bundle (.zip).")],
    target: Annotated[str, typer.Argument(help="hf:OWNER/NAME[/FILE][@BRANCH].")],
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.")
    ] = False,
    message: Annotated[str, typer.Option(help="Message of the commit. [default: from FILE]")] = "",
) -> None:
    """Upload a bank or bundle with its card to the Hugging Face Hub.

    The access token is that of `hf auth login`, or HF_TOKEN. A README.md that is there stays.

    Example: `tak push bank.h5 hf:me/organs`, then `tak train prepared --bank hf:me/organs -o run`
    """
    from knowledge.bank.bank import Bank
    from pipeline.files import hub
    from pipeline.files.kinds import kind_of, require_kind
    from pipeline.texts.bank_card import bank_card

    require_kind(file, "bank", "bundle")
    name = hub.HubName.parse(target)
    if kind_of(file) == "bank":
        card = bank_card(Bank.read(file), file.name)
    else:
        from pipeline.runs.bundles.reading import CARD, read_member, read_metadata

        read_metadata(file)  # a bundle of this program
        card = read_member(file, CARD).decode()
    card = f"---\nlibrary_name: tak-seg\ntags:\n- medical\n- segmentation\n---\n\n{card}"
    message = message or f"Add {name.file or file.name}"
    commit, new = hub.push(file, target, card, private=private, message=message)
    kept = "" if new else "; README.md was there and stays"
    typer.echo(f"pushed {file}{kept}; use it as {hub.PREFIX}{name.repository}@{commit[:12]}")
