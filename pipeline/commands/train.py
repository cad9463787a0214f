"""`tak train`: start or resume a run."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.shared.options import Device

KEPT = "checkpoints are kept; --resume continues a run that has one"  # after a signal


def train(
    output: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")],
    prepared: Annotated[
        Path | None,
        typer.Argument(help="Folder that `tak prepare` wrote. [default with --resume: the run's]"),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Shipped recipe or TOML file. [default: tak; with --resume: the run's]"),
    ] = None,
    bank: Annotated[
        Path | None, typer.Option(help="Text vectors that `tak encode` wrote, or hf:OWNER/NAME.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change of the recipe: table.key=value; may be repeated."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Shorthand for --set seed=N.")] = None,
    resume: Annotated[bool, typer.Option(help="Resume an interrupted run.")] = False,
    extend: Annotated[
        int | None, typer.Option(metavar="STEPS", help="Add steps to a run, and resume it.")
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN|BUNDLE|WEIGHTS", help="Start with trained weights, of other organs too."
        ),
    ] = None,
    wandb: Annotated[bool, typer.Option("--wandb", help="Log to Weights & Biases, too.")] = False,
    mlflow: Annotated[bool, typer.Option("--mlflow", help="Log to MLflow, too.")] = False,
    device: Device = "auto",
) -> None:
    """Train a run from a recipe.

    Ctrl-C ends the current step and writes last.pt; a second one stops at once. `tak train -o RUN
    --resume` continues with the recipe, data and bank of the run, and reaches the same weights as
    without the interrupt. Parts of the split with a common case, image or patient are refused. The
    folder also holds a copy of the bank and, in run.json, versions, device, command and times.

    --extend adds steps; from there on learning rate and ramps are those of the new total.
    --init-from takes weights where name and shape agree, and rows of the head by organ name;
    run.json lists what was taken. `torchrun --nproc-per-node N -m pipeline train ...` shares every
    step out over N processes or GPUs, to the same weights.

    Example: `tak train prepared --recipe tak --bank bank.h5 -o runs/tak`
    """
    from pipeline.commands.shared.training_observer import TerminalObserver
    from pipeline.config.recipe_files import read_config
    from pipeline.files import shipped
    from pipeline.files.hub import local
    from pipeline.files.kinds import require_kind
    from pipeline.files.outputs import require_writable_folder
    from pipeline.runs.devices import select_device
    from pipeline.runs.folder import RunFolder
    from pipeline.runs.observer import TrainingObserver
    from pipeline.runs.starting.extension import extend as extend_run
    from pipeline.runs.starting.resuming import changed_plugins, recorded_data
    from pipeline.runs.training import start
    from pipeline.terminal.live_table import watching
    from segmentation.data.preparation import load_prepared
    from segmentation.training.distributed.ranks import joined, local_device, several_processes
    from segmentation.training.trackers import trackers_of

    trackers = trackers_of(wandb=wandb, mlflow=mlflow)
    every_change = [*(changes or ()), *([] if seed is None else [f"seed={seed}"])]
    folder = RunFolder(output)
    if extend is not None:
        _refuse_with("--extend", {
            "--recipe": recipe, "--set or --seed": every_change,
            "several processes: extend the run in one, then --resume": several_processes(),
        })  # fmt: skip
        extend_run(output, extend)
        resume = True
    if init_from is not None:
        _refuse_with("--init-from", {"--resume or --extend": resume})
        init_from = local(init_from, "run", "checkpoint", "bundle")
    if recipe is None and resume and folder.config.is_file():
        config = read_config(folder.config, every_change)
    else:
        config = read_config(shipped.find("recipes", recipe or "tak"), every_change)
    chosen = local_device(select_device(device))
    if prepared is None and not resume:
        raise ValueError("PREPARED is missing: give the folder that `tak prepare` wrote")
    root = recorded_data(output) if prepared is None else require_kind(prepared, "prepared")
    data = load_prepared(root)
    config = config.for_split(len(data.split.unlabeled))
    bank = bank and local(bank, "bank")
    require_writable_folder(output, "run")

    for warning in changed_plugins(output, config) if resume else ():
        typer.echo(f"warning: {warning}", err=True)
    with joined(chosen) as ranks, watching(config.training.steps) as watcher:
        terminal = TerminalObserver(watcher, config, chosen, output)
        observer = terminal if ranks.first else TrainingObserver()
        start(
            output,
            config,
            data,
            bank,
            device=chosen,
            resume=resume,
            observer=observer,
            trackers=trackers,
            init_from=init_from,
            ranks=ranks,
        )
    if observer.stopped_by:
        if ranks.first:
            typer.echo(f"stopped; `tak train -o {output} --resume` resumes it ({folder.last})")
        raise typer.Exit(128 + observer.stopped_by)


def _refuse_with(option: str, others: dict[str, object]) -> None:
    given = [name for name, value in others.items() if value]
    if given:
        raise ValueError(f"{option} cannot be combined with {', '.join(given)}")
