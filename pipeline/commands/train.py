"""`tak train`, `tak evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps; auto takes the best.")
]
Checkpoint = Annotated[
    str, typer.Option("--checkpoint", help="best (on the validation cases) or last.")
]
Predictor = Annotated[
    str | None, typer.Option(help="student, teacher, ensemble ...; default: the recipe's.")
]


def register(app: typer.Typer) -> None:
    """Add the verbs of the segmentation stage."""
    app.command()(train)
    app.command()(evaluate)


def train(
    prepared: Annotated[Path, typer.Argument(help="Folder that `tak prepare` wrote.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe or a TOML file.")] = "tak",
    bank: Annotated[Path | None, typer.Option(help="Text vectors that `tak encode` wrote.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the recipe: table.key=value; repeat at will."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Shorthand for --set seed=N.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted run.")] = False,
    wandb: Annotated[bool, typer.Option("--wandb", help="Also to Weights & Biases.")] = False,
    mlflow: Annotated[bool, typer.Option("--mlflow", help="Also to MLflow.")] = False,
    device: Device = "auto",
) -> None:
    """Train a run from a recipe.

    Ctrl-C ends the current step, writes last.pt and leaves a run that `--resume` continues, with
    the same weights as if it had never stopped; a second Ctrl-C stops at once. Parts of the split
    that share a case, an image or a patient are refused. The run keeps its bank and, in
    run.json, versions, device, command and times.

    Example: `tak train prepared --recipe tak --bank bank.h5 -o runs/tak`
    """
    from pipeline.config.recipe import read_config
    from pipeline.files import shipped
    from pipeline.files.kinds import expect, writable_folder
    from pipeline.runs.build import pick_device
    from pipeline.runs.training import start
    from pipeline.terminal.live_table import watching
    from segmentation.data.preparation import load_prepared
    from segmentation.training.trackers import trackers_of

    trackers = trackers_of(wandb=wandb, mlflow=mlflow)
    every_change = [*(changes or ()), *([] if seed is None else [f"seed={seed}"])]
    config = read_config(shipped.find("recipes", recipe), every_change)
    chosen = pick_device(device)
    data = load_prepared(expect(prepared, "prepared"))
    writable_folder(output, "run")

    def ready(done: int) -> None:
        steps = config.training.steps
        if done == steps:
            typer.echo(f"{output}: all {steps} steps are done; `tak evaluate` scores the run")
            return
        after = f" after {done} that are done" if done else ""
        typer.echo(f"{config.title}: {steps - done} steps{after} on {chosen}, into {output}")

    with watching(config.training.steps) as watcher:
        finished = start(
            output,
            config,
            data,
            bank,
            device=chosen,
            resume=resume,
            report=watcher.report,
            recall=watcher.recall,
            ready=ready,
            tick=watcher.tick,
            trackers=trackers,
        )
    if not finished:
        typer.echo(f"stopped; go on with the same command and --resume ({output / 'last.pt'})")
        raise typer.Exit(130)


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
    from pipeline.files.kinds import expect, writable_folder
    from pipeline.runs.build import pick_device
    from pipeline.scoring.score_run import Asked, score_run
    from segmentation.data.preparation import load_prepared

    asked = Asked(
        part=part,
        rules=rules,
        tolerance_mm=tolerance,
        beside=beside,
        untrained=untrained,
        checkpoint=checkpoint,
        predictor=predictor,
        device=pick_device(device),
    )
    folder = output or (run if run.is_dir() else run.parent)
    data = load_prepared(expect(prepared, "prepared"))
    writable_folder(folder, "run")
    score_run(run, data, asked, folder, as_json=as_json)
    if data.note:
        typer.echo(f"of these data: {data.note}", err=as_json)
