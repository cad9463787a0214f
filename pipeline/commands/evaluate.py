"""`tak evaluate`: scores of a trained run, or of masks of other programs, on held-out cases."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.shared.options import Checkpoint, Device, Predictor

if TYPE_CHECKING:
    from pipeline.scoring.score_run import ScoredRun

KEPT = "scores are complete or absent; the same command starts again"  # after a signal
_MASKS = "Masks of other programs"


def evaluate(
    context: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(help="A run's folder, a checkpoint, a bundle; with --truth: of masks."),
    ],
    prepared: Annotated[
        Path | None, typer.Argument(help="Folder that `tak prepare` wrote; not with --truth.")
    ] = None,
    part: Annotated[str, typer.Option(help="validation or test.")] = "test",
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the results. [default: RUN]"),
    ] = None,
    rules: Annotated[
        str,
        typer.Option(
            help="Metric rules: scan, ga, magicnet, dhc, or published (those of the protocol)."
        ),
    ] = "scan",
    tolerance: Annotated[
        float, typer.Option(metavar="MM", help="Tolerance of NSD (rules scan only).")
    ] = 1.0,
    beside: Annotated[
        str | None,
        typer.Option(help="published, or published methods: 'DHC,GA,TAK'; same protocol only."),
    ] = None,
    untrained: Annotated[
        bool, typer.Option(help="Also score the network before its first step.")
    ] = False,
    text_sensitivity: Annotated[
        bool,
        typer.Option(
            "--text-sensitivity",
            help="Also score the run with other texts in place of its own (see tak sensitivity).",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results as JSON; tables go to stderr.")
    ] = False,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="True masks: a prepared folder, a data set as downloaded, or a folder of masks.",
            rich_help_panel=_MASKS,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Names of the masks' labels: dataset.json, descriptor, JSON or text file. "
            "[default: a file next to the masks]",
            rich_help_panel=_MASKS,
        ),
    ] = None,
    match: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORGAN=NAME",
            help="Label of the masks for an organ of the truth, if names differ.",
            rich_help_panel=_MASKS,
        ),
    ] = None,
    descriptor: Annotated[
        str | None,
        typer.Option(help="Organs of the truth, if it has no list.", rich_help_panel=_MASKS),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Split of a data set as downloaded.", rich_help_panel=_MASKS),
    ] = None,
    checkpoint: Checkpoint = "best",
    predictor: Predictor = None,
    device: Device = "auto",
) -> None:
    """Score a run, or masks of another program: Dice, NSD, HD95 and ASSD per organ.

    The rules `scan` measure on the grid of each scan, in mm. The others repeat published
    evaluations, so that `--beside` can show their numbers next to those of the run. Writes
    evaluation-PART.json and .csv; other rules, another checkpoint or predictor, and published
    numbers add their names.

    With --truth, RUN is a folder of masks: a label map per case (nnU-Net), or a mask per organ
    (TotalSegmentator, VoxTell). Labels and organs are matched by name.

    Examples: `tak evaluate runs/tak prepared --rules published --beside published`, and
    `tak evaluate nnunet-masks --truth prepared -o runs/nnunet`
    """
    from pipeline.files.hub import is_hub_name, local

    if is_hub_name(run):
        if output is None:
            raise ValueError(f"{run}: -o is missing: give the folder of the scores")
        run = local(run, "bundle")
    folder = output or (run if run.is_dir() else run.parent)
    if truth is None:
        _refuse_options(context, ("labels", "match", "descriptor", "split"), "needs --truth")
        if prepared is None:
            raise ValueError(
                f"no cases to score {run} on: give the folder that `tak prepare` wrote, or, for a "
                "folder of masks, --truth FOLDER"
            )
        request = (part, rules, tolerance, beside, untrained, checkpoint, predictor)
        _score_run(run, prepared, folder, request, device, text_sensitivity, as_json)
        return
    run_only = (
        *("prepared", "beside", "untrained", "text_sensitivity"),
        *("checkpoint", "predictor", "device"),
    )
    _refuse_options(context, run_only, "is for runs, not for masks")
    from pipeline.scoring.score_masks import MaskRequest, score_masks

    asked = MaskRequest(
        truth, part, rules, tolerance, descriptor, split, labels, tuple(match or ())
    )
    scored, remarks = score_masks(run, asked, folder, quiet=as_json)
    _print(scored, remarks, as_json)


def _score_run(
    run: Path,
    prepared: Path,
    folder: Path,
    request: tuple[str, str, float, str | None, bool, str, str | None],
    device: str,
    text_sensitivity: bool,
    as_json: bool,
) -> None:
    from pipeline.files.kinds import kind_of, require_kind
    from pipeline.files.outputs import require_writable_folder
    from pipeline.runs.devices import select_device
    from pipeline.scoring.score_run import ScoreRequest, score_run
    from segmentation.data.preparation import load_prepared

    if run.is_dir() and kind_of(run) is None:
        raise FileNotFoundError(
            f"{run} holds no run; a folder of masks is scored by `tak evaluate {run} --truth "
            f"{prepared}`"
        )
    chosen = select_device(device)
    asked = ScoreRequest(*request, device=chosen, text_sensitivity=text_sensitivity)
    data = load_prepared(require_kind(prepared, "prepared"))
    require_writable_folder(folder, "run")
    scored = score_run(run, data, asked, folder, quiet=as_json)
    _print(scored, [f"of these data: {data.note}"] if data.note else [], as_json)


def _print(scored: "ScoredRun", remarks: list[str], as_json: bool) -> None:
    from pipeline.scoring.tables import show_scores

    show_scores(scored, stderr=as_json)
    for files in scored.written:
        typer.echo(f"wrote {', '.join(map(str, files))}", err=as_json)
    if as_json:
        typer.echo(scored.written[0][0].read_text(encoding="utf-8"), nl=False)
    for remark in remarks:
        typer.echo(remark, err=as_json)


def _refuse_options(context: typer.Context, names: tuple[str, ...], reason: str) -> None:
    """Refuse options that were given but would have no effect.

    Raises:
        ValueError: names the option.
    """
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            shown = f"the argument {name.upper()}" if name == "prepared" else option
            raise ValueError(f"{shown} {reason}")
