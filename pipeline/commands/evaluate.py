"""`tak evaluate`: scores of a trained run on held-out cases."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.shared.interrupts import stopped_with
from pipeline.commands.shared.options import Checkpoint, Device, Predictor


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder, a checkpoint file or a bundle.")],
    prepared: Annotated[Path, typer.Argument(help="Folder that `tak prepare` wrote.")],
    part: Annotated[str, typer.Option(help="validation or test.")] = "test",
    output: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where results go; default: the run.")
    ] = None,
    rules: Annotated[
        str,
        typer.Option(help="scan; published, those of the protocol; or ga, magicnet, dhc."),
    ] = "scan",
    tolerance: Annotated[
        float, typer.Option(metavar="MM", help="Of NSD, by the rules `scan`.")
    ] = 1.0,
    beside: Annotated[
        str | None,
        typer.Option(help="published, or published methods: 'DHC,GA,TAK'; same protocol only."),
    ] = None,
    untrained: Annotated[
        bool, typer.Option(help="Also score the network as it was before its first step.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results as JSON; tables go to stderr.")
    ] = False,
    checkpoint: Checkpoint = "best",
    predictor: Predictor = None,
    device: Device = "auto",
) -> None:
    """Score a run: Dice, NSD, HD95 and ASSD per organ, over large, small and all.

    By the rules `scan` on each scan's own grid, in mm. The others repeat what published
    evaluations do, so that `--beside` can put their numbers next to the run's. Writes
    evaluation-PART.json and .csv; other rules, another checkpoint or predictor, and published
    numbers add their names.

    Example: `tak evaluate runs/tak prepared --rules published --beside published`
    """
    from pipeline.files.kinds import require_kind
    from pipeline.files.outputs import require_writable_folder
    from pipeline.runs.devices import select_device
    from pipeline.scoring.score_run import ScoreRequest, score_run
    from pipeline.scoring.tables import show_scores
    from segmentation.data.preparation import load_prepared

    asked = ScoreRequest(
        part=part,
        rules=rules,
        tolerance_mm=tolerance,
        beside=beside,
        untrained=untrained,
        checkpoint=checkpoint,
        predictor=predictor,
        device=select_device(device),
    )
    folder = output or (run if run.is_dir() else run.parent)
    data = load_prepared(require_kind(prepared, "prepared"))
    require_writable_folder(folder, "run")
    with stopped_with("no scores were written"):
        scored = score_run(run, data, asked, folder, quiet=as_json)
    show_scores(scored, stderr=as_json)
    for files in scored.written:
        typer.echo(f"wrote {', '.join(map(str, files))}", err=as_json)
    if as_json:
        typer.echo(scored.written[0][0].read_text(encoding="utf-8"), nl=False)
    if data.note:
        typer.echo(f"of these data: {data.note}", err=as_json)
