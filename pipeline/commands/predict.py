"""`tak predict`, `tak bundle`: what a user of a trained model needs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.shared.many_words import ManyWords

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.prediction.outputs import Done, Work
    from pipeline.prediction.targets import Target

Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps; auto takes the best.")
]
Model = Annotated[Path, typer.Argument(help="A run, a checkpoint file or a bundle.")]
Scans = Annotated[
    list[Path],
    typer.Argument(
        help="NIfTI, NRRD or MetaImage files, folders of a DICOM series, folders of scans, "
        "or .txt lists of these."
    ),
]
Output = Annotated[Path, typer.Option("--out", "-o", help="Mask file, or folder of masks.")]
Classes = Annotated[
    list[str] | None,
    typer.Option(help="Show these organs alone; all words up to the next option."),
]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Write only what is not there yet.")
]
SaveProbabilities = Annotated[
    bool, typer.Option("--save-probabilities", help="Also a probability map per organ.")
]
DicomSeg = Annotated[
    bool,
    typer.Option("--dicom-seg", help="Also a DICOM segmentation, NAME.seg.dcm, of a DICOM series."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what was measured as JSON.")]
Checkpoint = Annotated[
    str, typer.Option("--checkpoint", help="best (on the validation cases) or last.")
]
Network = Annotated[
    str | None, typer.Option("--predictor", help="student, teacher ...; default: the recipe's.")
]


def register(app: typer.Typer) -> None:
    """Add the verbs of prediction."""
    app.command(cls=ManyWords)(predict)
    app.command()(bundle)


def predict(
    model: Model,
    scans: Scans,
    output: Output,
    classes: Classes = None,
    skip_existing: SkipExisting = False,
    save_probabilities: SaveProbabilities = False,
    dicom_seg: DicomSeg = False,
    as_json: AsJson = False,
    checkpoint: Checkpoint = "best",
    predictor: Network = None,
    device: Device = "auto",
) -> None:
    """Segment scans: a mask per scan, on the scan's own grid with its affine.

    Beside each mask a JSON file tells volume in ml and mean HU of every organ; names and colors
    come as .ctbl for 3D Slicer and .label for ITK-SNAP; `--dicom-seg` writes a DICOM
    segmentation that refers to the slices of a DICOM series (needs the extra `dicom`).

    In a folder a mask has its scan's name; `case_0000.nii.gz`, as nnU-Net names scans, becomes
    `case.nii.gz`. A scan that cannot be read does not keep the others from being segmented; the
    command then ends with exit code 1. Interrupted, it leaves whole files, and `--skip-existing`
    goes on; masks that are there stay as they are, and what else is asked for is added.

    Example: `tak predict runs/tak ct.nii.gz -o mask.nii.gz --classes liver spleen`
    """
    from pipeline.files.kinds import expect
    from pipeline.prediction.outputs import Work, make_folders
    from pipeline.prediction.predictor import Predictor
    from pipeline.prediction.targets import check_dicom_seg, targets

    expect(model, "run", "checkpoint", "bundle")
    found = targets(scans, output)
    if dicom_seg:
        check_dicom_seg(found)
    chosen = Predictor(
        model, organs=classes, checkpoint=checkpoint, predictor=predictor, device=device
    )
    make_folders(found)
    work = Work(chosen, model, skip_existing, save_probabilities, dicom_seg)
    finished, faults = _segmented(work, found, output)
    _tell(finished, len(found) - len(finished) - len(faults), as_json)
    if len(faults) == 1 == len(found):
        raise faults[0]
    if faults:
        for each in faults:
            typer.echo(f"error: {each}", err=True)
        raise ValueError(f"{len(faults)} of {len(found)} scans could not be segmented")


def _segmented(
    work: "Work", found: "Sequence[Target]", output: Path
) -> "tuple[list[Done], list[Exception]]":
    """What was made, scan by scan, and why the other scans could not be segmented."""
    from dataclasses import replace

    from pipeline.prediction.outputs import write_colors
    from pipeline.terminal.progress import parts_of

    finished: list[Done] = []
    faults: list[Exception] = []
    with parts_of("segmenting", len(found)) as start:
        for target in found:
            try:
                done = work.segment(target, start(target.scan.name))
            except (ValueError, OSError, MemoryError) as fault:
                nameless = isinstance(fault, OSError) and fault.errno and not fault.filename
                faults.append(OSError(f"{target.mask}: {fault}") if nameless else fault)
                continue
            if done and not finished:
                colors = write_colors(found, output, work.predictor.opened.spec.classes)
                done = replace(done, files=(*done.files, *colors))
            finished += [done] if done else []
    return finished, faults


def _tell(finished: "list[Done]", skipped: int, as_json: bool) -> None:
    """What was written, and what is doubtful about the scans."""
    import json

    for done in finished:
        if done.report["warning"]:
            typer.echo(f"warning: {done.report['scan']}: {done.report['warning']}", err=True)
        if done.report.get("dicom_seg", "") is None:
            told = "no organ was found, so no DICOM segmentation was written"
            typer.echo(f"warning: {done.report['scan']}: {told}", err=True)
    if as_json:
        typer.echo(json.dumps([done.report for done in finished], indent=2, ensure_ascii=False))
        return
    for done in finished:
        typer.echo(f"wrote {', '.join(map(str, done.files))}")
    if skipped:
        typer.echo(f"skipped, for all that is asked for was there: {skipped}")


def bundle(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or a checkpoint file.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="File to write: NAME.zip.")],
    bank: Annotated[
        Path | None,
        typer.Option(help="Bank whose texts are put into the bundle. [default: the run's copy]"),
    ] = None,
    checkpoint: Checkpoint = "best",
    predictor: Network = None,
) -> None:
    """Put all that prediction needs into one file, with a model card.

    Weights are safetensors, the rest is JSON and text: loading a bundle executes nothing. Scores
    that `tak evaluate` left in the run go along, where they are of the same weights.

    Example: `tak bundle runs/tak -o tak.zip`, then
    `tak predict tak.zip ct.nii.gz -o mask.nii.gz` on any machine.
    """
    from pipeline.runs.bundle import write

    metadata = write(run, output, checkpoint=checkpoint, predictor=predictor, bank=bank)
    mega = output.stat().st_size / 1e6
    typer.echo(f"wrote {output} ({mega:.1f} MB): {metadata['description']}; {metadata['task']}")
