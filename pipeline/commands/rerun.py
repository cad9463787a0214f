"""`tak rerun`: repetition of a run from its folder, and comparison with it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.runs.reproduction import Comparison

KEPT = "checkpoints are kept; the same command continues"  # after a signal
DIFFERS = 3  # exit code
_SHOWN = 4


def rerun(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the repetition. [default: RUN-rerun]"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Prepared data, if they have moved. [default: the run's]"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:N or mps. [default: the run's]")
    ] = None,
) -> None:
    """Repeat a run from its folder, and report whether the result is the same.

    Recipe, seed and bank are those in RUN, the data those that it records. The log step by step,
    the last weights and all scores are compared, to the last bit. Exit code 3: something differs;
    the first step with a difference and the values are shown, with versions and devices that have
    changed. The same command resumes an interrupted repetition.
    """
    from pipeline.commands.shared.training_observer import TerminalObserver
    from pipeline.files.outputs import require_writable_folder
    from pipeline.runs.devices import select_device
    from pipeline.runs.folder import RunFolder
    from pipeline.runs.reproduction import compare_runs, open_original, other_conditions
    from pipeline.runs.run_record import read_run_record
    from pipeline.runs.training import start
    from pipeline.scoring.rescoring import rescore
    from pipeline.terminal.live_table import watching

    original = open_original(run, data)
    folder = RunFolder(output or run.with_name(f"{run.resolve().name}-rerun"))
    if folder.path.resolve() == run.resolve():
        raise FileExistsError(f"-o {folder.path} is the run itself; give another folder")
    require_writable_folder(folder.path, "run")
    chosen = select_device(device or original.device)
    config = original.config
    with watching(config.training.steps) as watcher:
        observer = TerminalObserver(watcher, config, chosen, folder.path)
        start(
            folder.path,
            config,
            original.data,
            original.bank,
            device=chosen,
            resume=folder.last.is_file(),
            observer=observer,
            trackers=(),
            init_from=None if folder.last.is_file() else original.init_from,
        )
    if observer.stopped_by:
        typer.echo(f"stopped; `tak rerun {run} -o {folder.path}` resumes it")
        raise typer.Exit(128 + observer.stopped_by)
    comparison = compare_runs(run, folder.path)
    scores = rescore(run, folder.path, original.data, chosen)
    record = read_run_record(folder.provenance) or {}
    typer.echo("\n".join(_lines(comparison, scores)))
    if comparison.same and not any(scores.values()):
        return
    for line in (*original.edited, *other_conditions(original.record, record)):
        typer.echo(f"changed since then: {line}")
    raise typer.Exit(DIFFERS)


def _lines(comparison: "Comparison", scores: dict[str, list[str]]) -> list[str]:
    """The result in lines, the verdict first."""
    parts = [f"{comparison.records} records of the log", f"weights {comparison.digest[:12]}"]
    if comparison.same and not any(scores.values()):
        return [f"the same: {', '.join([*parts, *scores])}"]
    lines = []
    if comparison.first:
        first = comparison.first
        lines.append(f"not the same from step {first[0].step} on:")
        lines += [f"  {each}" for each in first[:_SHOWN]]
        if len(first) > _SHOWN:
            lines.append(f"  and {len(first) - _SHOWN} more at this step")
        size, step = comparison.largest
        if size:
            lines.append(f"  the loss differs by up to {size:.2g} of its value, at step {step}")
    else:
        lines.append(f"not the same, though {comparison.records} records of the log are:")
    if comparison.weights:
        name = max(comparison.weights, key=lambda each: comparison.weights[each])
        lines.append(
            f"  {len(comparison.weights)} weights differ, most {name} "
            f"(by up to {comparison.weights[name]:.2g})"
        )
    lines += [f"  {file}: {words}" for file, each in scores.items() for words in each]
    return lines
