"""`tak adopt`: import of weights of the released TAK code as a run."""

from pathlib import Path
from typing import Annotated

import typer

KEPT = "unfinished files were removed; the same command starts again"  # after a signal


def adopt(
    checkpoint: Annotated[Path, typer.Argument(help="A .pth file of the released TAK code.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new run.")],
    bank: Annotated[
        Path,
        typer.Option(
            help="Text vectors of the network; `tak bank import` reads the released tensor."
        ),
    ],
    descriptor: Annotated[
        str, typer.Option(help="Data set descriptor: a shipped name, or a TOML file.")
    ] = "amos",
    recipe: Annotated[str, typer.Option(help="A shipped recipe or a TOML file.")] = "tak",
    step: Annotated[int, typer.Option(help="Number of training steps, if known.")] = 0,
) -> None:
    """Import a checkpoint of the released TAK code as a run, to evaluate, report or bundle it.

    Names of parameters are translated; nothing in the file is executed. The training cases of a
    checkpoint are unknown, so that its scores do not carry the name of a protocol alone.

    Example: `tak adopt epoch_160_best.pth --bank bank.h5 --descriptor amos -o runs/released`
    """
    from pipeline.config.recipe_files import read_config
    from pipeline.files import shipped
    from pipeline.files.kinds import require_kind
    from pipeline.runs.starting.released_checkpoint import adopt as take
    from segmentation.data.descriptor import DatasetSpec

    require_kind(checkpoint, "checkpoint")
    config = read_config(shipped.find("recipes", recipe))
    spec = DatasetSpec.read(shipped.find("data", descriptor))
    take(checkpoint, config, spec, require_kind(bank, "bank"), output, step=step)
    typer.echo(f"{output}: student and teacher with the weights of {checkpoint}")
