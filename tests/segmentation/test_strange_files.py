"""Damaged scans and prepared files: accepted because they are valid, or one line with the file."""

import gzip
import json
import shutil

import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK

from segmentation.data.case_files import load_prepared, read_case, read_crop, write_case
from segmentation.imaging.volume import read_volume
from tests.support.dicom_objects import body, write_enhanced, write_series
from tests.support.paths import ROOT

ROUNDS = 60


def scan(folder, suffix):
    voxels = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
    path = folder / f"a{suffix}"
    if suffix.startswith(".nii"):
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 2, 5, 1])), path)
    elif suffix == ".dcm":
        write_enhanced(path, body(), [(0, 0, 5.0 * i) for i in range(6)])
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(path))
    return path


def damaged(whole: bytes, random: np.random.Generator) -> bytes:
    """A truncation, flipped bits, overwritten or repeated pieces; the header more than the rest."""
    content = bytearray(whole)
    kind = random.integers(5)
    end = len(content) if random.random() < 0.3 else min(len(content), 600)
    place = int(random.integers(end))
    if kind == 0:
        return bytes(content[:place])
    if kind == 1:
        for _ in range(int(random.integers(1, 20))):
            content[int(random.integers(end))] ^= 1 << int(random.integers(8))
    elif kind == 2:
        content[place : place + 8] = bytes([int(random.choice([0, 255, 127, 48, 57]))]) * 8
    elif kind == 3:
        content[place : place + 1] = random.bytes(int(random.integers(1, 40)))
    else:
        piece = bytes(content[place : place + 16])
        content[place:place] = piece * int(random.integers(1, 200))
    return bytes(content)


def one_line(fault: BaseException, path) -> None:
    text = str(fault)
    assert path.name in text
    assert text.isprintable()
    assert len(text.replace(str(path), "").replace(str(path.parent), "")) <= 500


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".dcm"])
@pytest.mark.filterwarnings("error")
def test_damaged_scans_are_read_or_refused_in_one_line(tmp_path, suffix):
    path = scan(tmp_path, suffix)
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    for _ in range(ROUNDS):
        if suffix == ".nii.gz" and random.random() < 0.7:
            path.write_bytes(gzip.compress(damaged(gzip.decompress(whole), random)))
        else:
            path.write_bytes(damaged(whole, random))
        try:
            volume = read_volume(path)
        except ValueError as fault:
            one_line(fault, path)
        else:
            assert np.isfinite(volume.voxels).all()


def test_a_damaged_slice_of_a_series_is_named(tmp_path):
    write_series(tmp_path / "s", body(3))
    path = tmp_path / "s" / "001.dcm"
    whole, random = path.read_bytes(), np.random.default_rng(2)
    for _ in range(ROUNDS):
        path.write_bytes(damaged(whole, random))
        try:
            read_volume(tmp_path / "s")
        except ValueError as fault:
            one_line(fault, tmp_path / "s")


@pytest.fixture
def case(tmp_path):
    image = np.linspace(0, 1, 120, dtype=np.float32).reshape(4, 5, 6)
    attributes = {
        "format_version": 1,
        "affine": np.eye(4),
        "source_affine": np.eye(4),
        "source_shape": image.shape,
    }
    arrays = {"image": image, "label": (image > 0.5).astype(np.uint8)}
    write_case(tmp_path / "c.h5", arrays, attributes, sixteen_bits=True)
    return tmp_path / "c.h5"


def test_damaged_cases_are_read_or_refused_in_one_line(case):
    whole, random = case.read_bytes(), np.random.default_rng(3)
    for _ in range(ROUNDS):
        case.write_bytes(damaged(whole, random))
        for read in (read_case, lambda path: read_crop(path, (slice(2),) * 3, labeled=True)):
            try:
                read(case)
            except ValueError as fault:
                one_line(fault, case)


def replaced(file, name, **content):
    del file[name]
    file.create_dataset(name, **content)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: replaced(f, "image", shape=(10**6,) * 3, dtype="f4", chunks=(8, 8, 8)),
        lambda f: replaced(f, "image", data=np.zeros((4, 5, 6), complex)),
        lambda f: replaced(f, "image", data=np.zeros((4, 5), np.float32)),
        lambda f: replaced(f, "image", data=["a", "b"]),
        lambda f: replaced(f, "label", data=np.zeros((9, 9, 9), np.uint8)),
        lambda f: (f.pop("image"), f.create_group("image")),
        lambda f: f.pop("image"),
        lambda f: (f.pop("image"), f.__setitem__("image", h5py.ExternalLink("/etc/x", "/a"))),
        lambda f: f.attrs.pop("affine"),
        lambda f: f.attrs.__setitem__("affine", np.full((4, 4), np.nan)),
        lambda f: f.attrs.__setitem__("source_shape", "abc"),
        lambda f: f.attrs.__setitem__("format_version", np.arange(3)),
    ],
)
def test_items_of_another_kind_are_refused_in_one_line(case, change):
    with h5py.File(case, "a") as file:
        change(file)
    with pytest.raises(ValueError, match="prepare again") as fault:
        read_case(case)
    one_line(fault.value, case)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format_version": 1, "spec": ' + "[" * 100_000,
        '{"format_version": "\\u202e\\u001b[31m' + "x" * 100_000 + '"}',
        '{"format_version": 1}',
        '{"format_version": 1, "spec": 1, "split": 2, "cases": 3}',
        '{"format_version": 1, "spec": {"\\u202e'
        + "k" * 100_000
        + '": 1}, "split": {}, "cases": {}}',
        "null",
        "\x00",
    ],
)
def test_a_strange_dataset_json_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(ValueError, match=r"dataset\.json") as fault:
        load_prepared(tmp_path)
    one_line(fault.value, tmp_path / "dataset.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.__setitem__("cases", []),
        lambda c: c.__setitem__("split", []),
        lambda c: c["cases"].__setitem__(next(iter(c["cases"])), 5),
        lambda c: next(iter(c["cases"].values())).__setitem__("voxels_per_class", "many"),
        lambda c: next(iter(c["cases"].values())).__setitem__("voxels_per_class", [1]),
        lambda c: c["cases"].__setitem__("../../evil", {}),
        lambda c: c["split"]["labeled"].append("\x1b[31m" + "x" * 10_000),
    ],
)
def test_strange_records_are_refused_in_one_line(tmp_path, change):
    shutil.copytree(ROOT / "tests" / "support" / "saved" / "prepared", tmp_path / "p")
    path = tmp_path / "p" / "dataset.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"dataset\.json") as fault:
        load_prepared(tmp_path / "p")
    one_line(fault.value, path)
