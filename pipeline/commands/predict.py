"""`tak predict`, `tak bundle`: what a user of a trained model needs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.words import ManyWords

Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps; auto takes the best.")
]
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
    model: Annotated[Path, typer.Argument(help="A run, a checkpoint file or a bundle.")],
    scans: Annotated[
        list[Path],
        typer.Argument(
            help="NIfTI, NRRD or MetaImage files, folders of a DICOM series, folders of scans, "
            "or .txt lists of these."
        ),
    ],
    output: Annotated[Path, typer.Option("--out", "-o", help="Mask file, or folder of masks.")],
    classes: Annotated[
        list[str] | None,
        typer.Option(help="Show these organs alone; all words up to the next option."),
    ] = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave alone what has a mask.")
    ] = False,
    save_probabilities: Annotated[
        bool, typer.Option("--save-probabilities", help="Also a probability map per organ.")
    ] = False,
    dicom_seg: Annotated[
        bool,
        typer.Option(
            "--dicom-seg", help="Also a DICOM segmentation, NAME.seg.dcm, of a DICOM series."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was measured as JSON.")
    ] = False,
    checkpoint: Checkpoint = "best",
    predictor: Network = None,
    device: Device = "auto",
) -> None:
    """Segment scans: a mask per scan, on the scan's own grid with its affine.

    Beside each mask a JSON file tells volume in ml and mean HU of every organ; names and colors
    come as .ctbl for 3D Slicer and .label for ITK-SNAP; `--dicom-seg` writes a DICOM
    segmentation that refers to the slices of a DICOM series (needs the extra `dicom`). A scan that
    cannot be read does not keep the others from being segmented; the command then ends with exit
    code 1.

    Example: `tak predict runs/tak ct.nii.gz -o mask.nii.gz --classes liver spleen`
    """
    from pipeline.predict import Work, check_dicom_seg, targets, write_colors
    from pipeline.predictor import Predictor
    from pipeline.progress import parts_of

    found = targets(scans, output)
    if dicom_seg:
        check_dicom_seg(found)
    chosen = Predictor(
        model, organs=classes, checkpoint=checkpoint, predictor=predictor, device=device
    )
    work = Work(chosen, model, skip_existing, save_probabilities, dicom_seg)
    reports: list[dict[str, Any]] = []
    faults: list[Exception] = []
    skipped = 0
    with parts_of("segmenting", len(found)) as start:
        for target in found:
            share = start(target.scan.name)
            try:
                report = work.segment(target, share)
            except (ValueError, OSError) as fault:
                faults.append(fault)
                continue
            skipped += report is None
            reports += [report] if report else []
    color_files = write_colors(found, output, chosen.opened.spec.classes) if reports else []
    _tell(reports, color_files, skipped, as_json)
    if len(faults) == 1 == len(found):
        raise faults[0]
    if faults:
        for each in faults:
            typer.echo(f"error: {each}", err=True)
        raise ValueError(f"{len(faults)} of {len(found)} scans could not be segmented")


def _tell(
    reports: list[dict[str, Any]], color_files: list[Path], skipped: int, as_json: bool
) -> None:
    """What was written, and what is doubtful about the scans."""
    import json

    for report in reports:
        if report["warning"]:
            typer.echo(f"warning: {report['scan']}: {report['warning']}", err=True)
        if report.get("dicom_seg", "") is None:
            told = "no organ was found, so no DICOM segmentation was written"
            typer.echo(f"warning: {report['scan']}: {told}", err=True)
    if as_json:
        typer.echo(json.dumps(reports, indent=2, ensure_ascii=False))
        return
    for report in reports:
        files = [report["mask"], report.get("dicom_seg")]
        typer.echo(f"wrote {', '.join(file for file in files if file)}")
    if color_files:
        typer.echo(f"names and colors: {', '.join(map(str, color_files))}")
    if skipped:
        typer.echo(f"{skipped} had a mask and were skipped")


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
    from pipeline.bundle import write

    metadata = write(run, output, checkpoint=checkpoint, predictor=predictor, bank=bank)
    mega = output.stat().st_size / 1e6
    typer.echo(f"wrote {output} ({mega:.1f} MB): {metadata['description']}; {metadata['task']}")
