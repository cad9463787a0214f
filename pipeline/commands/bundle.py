"""`tak bundle`: a trained network as one file, or as a folder for MONAI."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.shared.options import Checkpoint, Predictor

KEPT = "a bundle is complete or absent; the same command starts again"  # after a signal


def bundle(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or a checkpoint file.")],
    output: Annotated[
        Path, typer.Option("--out", "-o", help="NAME.zip, NAME.onnx, or a folder for MONAI.")
    ],
    bank: Annotated[
        Path | None,
        typer.Option(help="Bank whose texts are put into the bundle. [default: the run's copy]"),
    ] = None,
    checkpoint: Checkpoint = "best",
    predictor: Predictor = None,
) -> None:
    """Pack a trained network for prediction, with a model card.

    Weights are safetensors, the rest is JSON and text: loading a bundle executes no code. Scores of
    the same weights that `tak evaluate` wrote to the run are included.

    A name without a suffix is a folder that `python -m monai.bundle run` executes without tak-seg;
    NAME.onnx is the network with its text alone, for patches of the training size.

    Example: `tak bundle runs/tak -o tak.zip`, then
    `tak predict tak.zip ct.nii.gz -o mask.nii.gz` on any machine.
    """
    from pipeline.runs.bundles.writing import write

    metadata = write(run, output, checkpoint=checkpoint, predictor=predictor, bank=bank)
    files = output.rglob("*") if output.is_dir() else [output]
    mega = sum(file.stat().st_size for file in files) / 1e6
    typer.echo(f"wrote {output} ({mega:.1f} MB): {metadata['description']}; {metadata['task']}")
