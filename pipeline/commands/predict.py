"""`tak predict`: masks of scans by a trained network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.shared.options import Checkpoint, Device, Predictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.prediction.outputs import ScanJob, ScanResult
    from pipeline.prediction.targets import Target

KEPT = "files that were written are whole; --skip-existing resumes"  # after a signal
Model = Annotated[
    Path, typer.Argument(help="A run, a checkpoint file, a bundle, or hf:OWNER/NAME.")
]
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
    typer.Option(help="Only these organs; all words up to the next option."),
]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Write only missing outputs.")]
SaveProbabilities = Annotated[
    bool, typer.Option("--save-probabilities", help="Also a probability map per organ.")
]
DicomSeg = Annotated[
    bool,
    typer.Option("--dicom-seg", help="Also a DICOM segmentation, NAME.seg.dcm, of a DICOM series."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the measurements as JSON.")]


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
    predictor: Predictor = None,
    device: Device = "auto",
) -> None:
    """Segment scans: one mask per scan, on its grid and with its affine.

    A JSON file per mask holds volume in ml and mean HU of every organ; names and colors are written
    as .ctbl for 3D Slicer and .label for ITK-SNAP, and into the header of NRRD masks (`-o
    mask.seg.nrrd` opens in 3D Slicer as named segments); `--dicom-seg` writes a DICOM segmentation
    that refers to the slices of a DICOM series (needs the extra `dicom`).

    In a folder a mask has the name of its scan; `case_0000.nii.gz`, as nnU-Net names scans, becomes
    `case.nii.gz`. If a scan cannot be read, the others are segmented and the exit code is 1.
    After an interrupt all files are complete, and `--skip-existing` resumes: existing masks are
    kept and only missing outputs are added.

    Example: `tak predict runs/tak ct.nii.gz -o mask.nii.gz --classes liver spleen`
    """
    from pipeline.files.hub import local
    from pipeline.prediction.outputs import ScanJob, make_folders
    from pipeline.prediction.predictor import Predictor
    from pipeline.prediction.targets import check_dicom_seg, targets

    model = local(model, "run", "checkpoint", "bundle")
    planned = targets(scans, output)
    if dicom_seg:
        check_dicom_seg(planned)
    chosen = Predictor(
        model, organs=classes, checkpoint=checkpoint, predictor=predictor, device=device
    )
    make_folders(planned)
    work = ScanJob(chosen, model, skip_existing, save_probabilities, dicom_seg)
    finished, faults = _segmented(work, planned, output)
    _print(finished, len(planned) - len(finished) - len(faults), as_json)
    if len(faults) == 1 == len(planned):
        raise faults[0]
    if faults:
        for each in faults:
            typer.echo(f"error: {each}", err=True)
        raise ValueError(f"{len(faults)} of {len(planned)} scans could not be segmented")


def _segmented(
    work: "ScanJob", planned: "Sequence[Target]", output: Path
) -> "tuple[list[ScanResult], list[Exception]]":
    """Results per scan, and the errors of scans that could not be segmented."""
    from dataclasses import replace

    from pipeline.prediction.outputs import write_colors
    from pipeline.terminal.progress import parts_of

    finished: list[ScanResult] = []
    faults: list[Exception] = []
    with parts_of("segmenting", len(planned)) as start:
        for target in planned:
            try:
                done = work.segment(target, start(target.scan.name))
            except (ValueError, OSError, MemoryError) as fault:
                nameless = isinstance(fault, OSError) and fault.errno and not fault.filename
                faults.append(OSError(f"{target.mask}: {fault}") if nameless else fault)
                continue
            if done and not finished:
                colors = write_colors(planned, output, work.predictor.opened.spec.classes)
                done = replace(done, files=(*done.files, *colors))
            finished += [done] if done else []
    return finished, faults


def _print(finished: "list[ScanResult]", skipped: int, as_json: bool) -> None:
    """Print written files and warnings about the scans."""
    import json

    for result in finished:
        if result.report["warning"]:
            typer.echo(f"warning: {result.report['scan']}: {result.report['warning']}", err=True)
        if result.report.get("dicom_seg", "") is None:
            reason = "no organ was found, so no DICOM segmentation was written"
            typer.echo(f"warning: {result.report['scan']}: {reason}", err=True)
    if as_json:
        typer.echo(json.dumps([result.report for result in finished], indent=2, ensure_ascii=False))
        return
    for result in finished:
        typer.echo(f"wrote {', '.join(map(str, result.files))}")
    if skipped:
        typer.echo(f"skipped, all requested outputs exist: {skipped}")
