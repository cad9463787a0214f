"""`tak init`: a descriptor measured from a folder of scans and masks."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.shared.options import Jobs

KEPT = "a descriptor is complete or absent; the same command starts again"  # after a signal


def init(
    root: Annotated[Path, typer.Argument(help="Folder of scans and masks.")],
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Descriptor to write. [default: ROOT/dataset.toml]"),
    ] = None,
    organ: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Organ to keep, or several merged: kidney=kidney_left+kidney_right; repeat. "
            "[default: all]",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Names of the labels: JSON, text file or descriptor. [default: dataset.json, the "
            "headers of the masks, or the names of mask files]"
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(help="amos, synapse, nnunet, totalsegmentator or pairs. [default: detected]"),
    ] = None,
    memory: Annotated[
        float, typer.Option(metavar="GIB", help="Memory for the suggested patch.")
    ] = 10.0,
    cases: Annotated[int, typer.Option(min=0, help="Number of cases to measure (0: all).")] = 20,
    force: Annotated[bool, typer.Option("--force", help="Replace the descriptor.")] = False,
    jobs: Jobs = 1,
) -> None:
    """Write the descriptor of a folder of scans and masks, measured, with a comment per choice.

    Reads nnU-Net's raw layout (names from dataset.json), TotalSegmentator's (a mask per organ, or
    one label map per case), AMOS, BTCV, and a pair of folders images/ and labels/. Organs, sides
    and sizes, spacing, orientation and window are those of the data; grid, patch and cube fit the
    memory.

    Example: `tak init phantoms -o own.toml --organ liver --organ 'kidney=left kidney+right kidney'`
    """
    from functools import partial

    from pipeline.datasets.descriptors import OWN
    from pipeline.datasets.drafts.draft import draft_descriptor
    from pipeline.files.outputs import require_writable
    from pipeline.terminal.progress import counted
    from segmentation.common.files import write_text

    target = output or root / OWN
    if target.suffix != ".toml":
        raise ValueError(f"-o {target}: a descriptor ends in .toml")
    if target.is_file() and not force:
        raise FileExistsError(f"{target} exists; replace it with --force, or give another -o")
    require_writable(target, "descriptor")
    draft = draft_descriptor(
        root,
        layout=layout,
        labels=labels,
        organs=organ or (),
        memory_gib=memory,
        most_cases=cases,
        jobs=jobs,
        counted=partial(counted, stderr=True),
    )
    write_text(target, draft.text)
    typer.echo(f"wrote {target}: {draft.summary}")
    for warning in draft.warnings:
        typer.echo(f"warning: {warning}", err=True)
    option = "" if output is None else f" --descriptor {target}"
    typer.echo(
        f"next: `tak inspect {root}{option}`, then `tak split {root}{option} -o lists`, then "
        f"`tak prepare {root}{option} --split lists -o prepared`"
    )
