"""Which mask belongs to which scan."""

from pathlib import Path

SUFFIXES = (".nii.gz", ".nii")


def targets(scan: Path, output: Path) -> list[tuple[Path, Path]]:
    """Scans and the masks to write: a file to a file, or the scans of a folder to a folder.

    Raises:
        FileNotFoundError: no scan there.
        ValueError: an output that does not fit, or that would overwrite a scan.
    """
    if scan.is_dir():
        if output.name.endswith(SUFFIXES) or output.is_file():
            raise ValueError(f"-o {output}: for a folder of scans give a folder")
        scans = sorted(path for path in scan.iterdir() if path.name.endswith(SUFFIXES))
        if not scans:
            raise FileNotFoundError(f"{scan}: no scan ({', '.join(SUFFIXES)}) in this folder")
        pairs = [(path, output / path.name) for path in scans]
    else:
        if not scan.is_file():
            raise FileNotFoundError(f"{scan}: no such scan")
        single = output if output.name.endswith(SUFFIXES) else output / scan.name
        pairs = [(scan, single)]
    for source, target in pairs:
        if source.resolve() == target.resolve():
            raise ValueError(f"-o {output}: would overwrite the scan {source}")
    return pairs
