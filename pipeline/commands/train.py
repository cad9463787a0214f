"""`tak train`: a run started or resumed."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.shared.options import Device


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
    from pipeline.config.recipe_files import read_config
    from pipeline.files import shipped
    from pipeline.files.kinds import require_kind
    from pipeline.files.outputs import require_writable_folder
    from pipeline.runs.devices import select_device
    from pipeline.runs.training import start
    from pipeline.terminal.live_table import watching
    from segmentation.data.preparation import load_prepared
    from segmentation.training.trackers import trackers_of

    trackers = trackers_of(wandb=wandb, mlflow=mlflow)
    every_change = [*(changes or ()), *([] if seed is None else [f"seed={seed}"])]
    config = read_config(shipped.find("recipes", recipe), every_change)
    chosen = select_device(device)
    data = load_prepared(require_kind(prepared, "prepared"))
    require_writable_folder(output, "run")

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
