"""`tak bundle`: a trained network as one file."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.shared.options import Checkpoint, Predictor

KEPT = "a bundle is complete or absent; the same command starts again"  # after a signal


def bundle(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or a checkpoint file.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="File to write: NAME.zip.")],
    bank: Annotated[
        Path | None,
        typer.Option(help="Bank whose texts are put into the bundle. [default: the run's copy]"),
    ] = None,
    checkpoint: Checkpoint = "best",
    predictor: Predictor = None,
) -> None:
    """Pack a trained network for prediction into one file, with a model card.

    Weights are safetensors, the rest is JSON and text: loading a bundle executes no code. Scores of
    the same weights that `tak evaluate` wrote to the run are included.

    Example: `tak bundle runs/tak -o tak.zip`, then
    `tak predict tak.zip ct.nii.gz -o mask.nii.gz` on any machine.
    """
    from pipeline.runs.bundles.writing import write

    metadata = write(run, output, checkpoint=checkpoint, predictor=predictor, bank=bank)
    mega = output.stat().st_size / 1e6
    typer.echo(f"wrote {output} ({mega:.1f} MB): {metadata['description']}; {metadata['task']}")
