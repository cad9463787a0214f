"""`tak adopt`: weights of the released TAK code, ready to be evaluated, reported and used."""

from pathlib import Path
from typing import Annotated

import typer

KEPT = "unfinished files were removed; the same command starts again"  # after a signal


def adopt(
    checkpoint: Annotated[Path, typer.Argument(help="A .pth file of the released TAK code.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run to make.")],
    bank: Annotated[
        Path, typer.Option(help="Its text vectors; `tak bank import` reads the released tensor.")
    ],
    descriptor: Annotated[
        str, typer.Option(help="Its data set: a shipped name, or a TOML file.")
    ] = "amos",
    recipe: Annotated[str, typer.Option(help="A shipped recipe or a TOML file.")] = "tak",
    step: Annotated[int, typer.Option(help="How long it was trained, if known.")] = 0,
) -> None:
    """Take over a checkpoint of the released TAK code as a run: evaluate, report, predict, bundle.

    Names of parameters are translated; nothing in the file is executed. On which cases it was
    trained a checkpoint does not say, so that its scores do not carry a protocol's bare name.

    Example: `tak adopt epoch_160_best.pth --bank bank.h5 --descriptor amos -o runs/released`
    """
    from pipeline.config.recipe_files import read_config
    from pipeline.files import shipped
    from pipeline.files.kinds import require_kind
    from pipeline.runs.released_checkpoint import adopt as take
    from segmentation.data.descriptor import DatasetSpec

    require_kind(checkpoint, "checkpoint")
    config = read_config(shipped.find("recipes", recipe))
    spec = DatasetSpec.read(shipped.find("data", descriptor))
    take(checkpoint, config, spec, require_kind(bank, "bank"), output, step=step)
    typer.echo(f"{output}: student and teacher with the weights of {checkpoint}")
