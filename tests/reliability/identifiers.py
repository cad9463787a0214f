"""What says who a patient is, in the headers of scans: it must reach no file, output or server."""

import gzip
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import nibabel
import numpy as np

from tests.reliability import forks
from tests.reliability.jobs import TINY
from tests.support.dicom_objects import write_series

WHO = {
    "PatientName": "QUAGMIRE^ZEBEDIAH", "PatientID": "ID7431XY", "PatientBirthDate": "19620317",
    "AccessionNumber": "ACC7431", "ReferringPhysicianName": "WATKINSON^OBADIAH",
    "StudyID": "ST7431",
    "InstitutionName": "CLINIC7431", "StudyDate": "20190704", "PatientAddress": "ELM7431",
}  # fmt: skip
_SECRETS = [part.lower().encode() for value in WHO.values() for part in value.split("^")]
_TRAIN = ["train", "prepared", "--recipe", "demo", "--bank", "bank.h5", "-o", "run",
          *(word for change in TINY for word in ("--set", change))]  # fmt: skip


def scenario(url: str) -> dict[str, Sequence[object]]:
    """Every command that reads scans or what was made of them, in an order that works."""
    ask = ["--provider", "openai_compatible", "--model", "m", "--base-url", url, "--cache", "cache"]
    return {
        "inspect": ["inspect", "raw", "--json"],
        "init": ["init", "raw", "-o", "own.toml"],
        "split": ["split", "raw", "-o", "lists", "--test", 1, "--validation", 1, "--labeled", 1],
        "prepare": ["prepare", "raw", "-o", "prepared", "--spacing", 16, 16, 16],
        "describe": ["describe", "raw/dataset.toml", *ask, "-o", "d.json", "--verify", "--scans",
                     "raw"],
        "encode": ["encode", "d.json", "--encoder", "hashing:16", "-o", "bank.h5"],
        "train": _TRAIN,
        "evaluate": ["evaluate", "run", "prepared"],
        "report": ["report", "run", "--data", "prepared", "-o", "page"],
        "bundle": ["bundle", "run", "-o", "run.zip"],
        "bundle folder": ["bundle", "run", "-o", "monai"],
        "predict": ["predict", "run", "ct.nii.gz", "-o", "masks/ct.nii.gz", "--json",
                    "--save-probabilities"],
        "predict seg.nrrd": ["predict", "run", "ct.nii.gz", "-o", "masks/ct.seg.nrrd"],
        "predict mha": ["predict", "run", "ct.nii.gz", "-o", "masks/ct.mha"],
        "predict DICOM": ["predict", "run", "series", "-o", "masks/series.nii.gz", "--json"],
        "predict DICOM, folder": ["predict", "run", "series", "-o", "folder"],
    }  # fmt: skip


def identifiers(folder: Path, raw: Path, url: str, questions: Path) -> list[str]:
    """Run all commands on scans of a named patient; a line per failure.

    Args:
        folder: new; all that is in it afterward is searched but the scans themselves.
        raw: phantom scans.
        questions: file of all that the server at `url` was sent.
    """
    folder.mkdir(parents=True)
    _write_scans(folder, raw)
    scans = {path for path in folder.rglob("*") if path.is_file()}
    assert sum(bool(_found(content)) for path in scans for content in _contents(path)) > 5
    failures = []
    for name, words in scenario(url).items():
        done = forks.run(words, folder)
        if done.code:
            failures.append(f"{name} ends with {done.code}: {done.err[-300:]}")
        for secret in _found(f"{done.out} {done.err}".encode()):
            failures.append(f"{name} prints {secret}")
    for path in sorted({path for path in folder.rglob("*") if path.is_file()} - scans):
        for content in (str(path.relative_to(folder)).encode(), *_contents(path)):
            for secret in _found(content):
                failures.append(f"{path.relative_to(folder)} holds {secret}")
    failures += [f"a question holds {secret}" for secret in _found(questions.read_bytes())]
    return failures


def _found(content: bytes) -> list[str]:
    lower = content.lower()
    return [secret.decode() for secret in _SECRETS if secret in lower]


def _contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file, unpacked as well."""
    content = path.read_bytes()
    yield content
    if content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            yield from (file.read(name) for name in file.namelist())
    elif h5py.is_hdf5(path):
        with h5py.File(path) as file:
            texts = [repr(dict(file.attrs))]
            file.visititems(lambda _, item: texts.append(_texts(item)))
            yield "\n".join(texts).encode()


def _texts(item: h5py.Group | h5py.Dataset) -> str:
    values = item[()] if isinstance(item, h5py.Dataset) and item.dtype.kind in "OSU" else ""
    return f"{item.name} {dict(item.attrs)!r} {values!r}"


def _write_scans(folder: Path, raw: Path) -> None:
    """Phantoms, a scan and a series, each with all that names a patient in its header."""
    shutil.copytree(raw, folder / "raw")
    voxels = np.random.default_rng(0).integers(-500, 500, (20, 18, 16)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([16.0, 16, 16, 1])), folder / "ct.nii.gz")
    everything = " ".join(WHO.values())
    for path in folder.rglob("*.nii.gz"):
        image = nibabel.load(path)
        named = nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
        named.header["descrip"] = WHO["PatientName"].encode()
        named.header["aux_file"] = WHO["PatientID"].encode()
        named.header["db_name"] = WHO["InstitutionName"].encode()
        named.header["intent_name"] = WHO["AccessionNumber"].encode()
        named.header.extensions.append(
            nibabel.nifti1.Nifti1Extension("comment", everything.encode())
        )
        nibabel.save(named, path)
    write_series(folder / "series", np.zeros((18, 24, 24)) + 40, **WHO)
