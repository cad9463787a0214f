"""`tak sensitivity`: sensitivity of a trained run to its text."""

from pathlib import Path
from typing import Annotated

import typer

from knowledge.common.suggest import unknown
from pipeline.commands.shared.options import Checkpoint, Device, Predictor

KEPT = "figures are complete or absent; the same command starts again"  # after a signal


def sensitivity(
    run: Annotated[Path, typer.Argument(help="A run's folder, a checkpoint, or a bundle.")],
    prepared: Annotated[Path, typer.Argument(help="Folder that `tak prepare` wrote.")],
    bank: Annotated[
        Path | None, typer.Option(help="Another bank to use, besides the three exchanges.")
    ] = None,
    part: Annotated[str, typer.Option(help="validation or test.")] = "test",
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="JSON file. [default: RUN/sensitivity-PART.json]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the random vectors.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON; the table goes to stderr.")
    ] = False,
    checkpoint: Checkpoint = "best",
    predictor: Predictor = None,
    device: Device = "auto",
) -> None:
    """Score a run with other text vectors in place of the trained ones.

    Three exchanges: every class gets the vectors of the next one, the mean of all, or random ones
    of equal length. A run whose predictions stay the same ignores its text. Dice is measured on
    the prepared grid.

    Example: `tak sensitivity runs/tak prepared --bank other.h5`
    """
    from rich.console import Console

    from pipeline.files.hub import local
    from pipeline.files.kinds import require_kind
    from pipeline.files.outputs import require_writable
    from pipeline.runs.devices import select_device
    from pipeline.runs.open_model import open_model
    from pipeline.scoring.score_run import PARTS
    from pipeline.scoring.tables import sensitivity_table
    from pipeline.scoring.text_sensitivity import (
        other_vectors,
        text_sensitivity,
        write_sensitivity,
    )
    from pipeline.terminal.progress import counted
    from segmentation.data.preparation import load_prepared

    if part not in PARTS:
        raise LookupError(unknown("part", part, PARTS))
    folder = run if run.is_dir() else run.parent
    path = output or folder / f"sensitivity-{part}.json"
    require_writable(path, "")
    data = load_prepared(require_kind(prepared, "prepared"))
    model = open_model(
        run, checkpoint=checkpoint, predictor=predictor, device=select_device(device)
    )
    others = other_vectors(model, None if bank is None else local(bank, "bank"), seed=seed)
    cases = len(getattr(data.split, part))
    with counted("scoring", cases, stderr=as_json) as tick:
        figures = text_sensitivity(model, data, part, others, tick)
    write_sensitivity(figures, path)
    Console(stderr=as_json).print(sensitivity_table(figures))
    typer.echo(f"wrote {path}", err=as_json)
    if as_json:
        typer.echo(path.read_text(encoding="utf-8"), nl=False)
