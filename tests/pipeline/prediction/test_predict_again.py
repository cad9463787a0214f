"""`tak predict` a second time: what is there stays, what is lacking is added, nothing is lost."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK

from segmentation.data.descriptor import DatasetSpec
from segmentation.imaging.volume import read_labels, read_volume, write_labels, write_volume
from tests.support.dicom_series import write_series
from tests.support.paths import ROOT
from tests.support.processes import wait_until
from tests.support.small_run import make_run

SPEC = DatasetSpec.read(ROOT / "data" / "phantom.toml")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("again") / "run", SPEC)


@pytest.fixture
def series(tmp_path) -> Path:
    gray = np.random.default_rng(0).normal(40, 150, (9, 12, 10))
    gray[:, :2] = -1000
    image = SimpleITK.GetImageFromArray(2 * (gray // 2).astype(np.int16))
    image.SetSpacing((5.0, 6.0, 8.0))
    write_series(tmp_path / "series", image)
    return tmp_path / "series"


@pytest.fixture
def no_network(monkeypatch):
    """A network that is asked fails the test."""

    def fail(*given, **named):
        raise AssertionError("the network was asked")

    return lambda: monkeypatch.setattr("pipeline.prediction.predictor.predict_scan", fail)


def test_a_dicom_segmentation_is_added_to_a_mask_that_stays(tak, run, series, tmp_path, no_network):
    """Also to one that a person has corrected: what is added shows the corrected mask."""
    words = ["predict", run, series, "-o", tmp_path / "mask.nii.gz", "--skip-existing"]
    assert tak(*words)[0] == 0
    mask = read_labels(tmp_path / "mask.nii.gz")
    corrected = mask.voxels.copy()
    corrected[2:5, 3:9, 2:6] = 6
    write_labels(tmp_path / "mask.nii.gz", corrected, mask.affine)
    no_network()
    code, out, err = tak(*words, "--dicom-seg")
    assert code == 0, err
    assert f"wrote {tmp_path}/mask.seg.dcm" in out
    assert "mask.nii.gz" not in out
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.nii.gz").voxels, corrected)
    found = pydicom.dcmread(tmp_path / "mask.seg.dcm")
    assert found.pixel_array.sum() == (corrected > 0).sum()
    report = json.loads((tmp_path / "mask.json").read_text())
    assert report["dicom_seg"] == str(tmp_path / "mask.seg.dcm")
    assert report["organs"]["liver"]["voxels"] == (corrected == SPEC.labels["liver"]).sum()
    before = (tmp_path / "mask.seg.dcm").stat().st_mtime_ns
    code, out, _ = tak(*words, "--dicom-seg")
    assert (code, out) == (0, "skipped, all requested outputs exist: 1\n")
    assert (tmp_path / "mask.seg.dcm").stat().st_mtime_ns == before


def test_probabilities_are_added_to_a_mask_that_stays(tak, run, series, tmp_path):
    words = ["predict", run, series, "-o", tmp_path / "out", "--skip-existing"]
    assert tak(*words)[0] == 0
    mask = tmp_path / "out/series.nii.gz"
    before = mask.stat().st_mtime_ns
    assert tak(*words, "--save-probabilities")[0] == 0
    maps = tmp_path / "out/series-probabilities"
    assert len(list(maps.iterdir())) == len(SPEC.organs)
    assert mask.stat().st_mtime_ns == before
    (maps / "left_kidney.nii.gz").unlink()
    assert tak(*words, "--save-probabilities")[0] == 0
    assert (maps / "left_kidney.nii.gz").is_file()
    code, out, _ = tak(*words, "--save-probabilities")
    assert (code, out) == (0, "skipped, all requested outputs exist: 1\n")


def test_an_empty_mask_is_not_segmented_again_for_a_segmentation_it_cannot_have(
    tak, run, series, tmp_path, no_network
):
    words = ["predict", run, series, "-o", tmp_path / "mask.nii.gz"]
    assert tak(*words)[0] == 0
    labels = read_labels(tmp_path / "mask.nii.gz").voxels
    absent = [name for name, label in SPEC.labels.items() if not (labels == label).any()]
    words += ["--classes", absent[0], "--dicom-seg"]
    assert tak(*words)[0] == 0
    no_network()
    code, out, _ = tak(*words, "--skip-existing")
    assert (code, out) == (0, "skipped, all requested outputs exist: 1\n")


def test_a_mask_of_other_organs_stays_and_is_told(tak, run, series, tmp_path):
    words = ["predict", run, series, "-o", tmp_path / "mask.nii.gz"]
    assert tak(*words, "--classes", "liver", "spleen")[0] == 0
    before = (tmp_path / "mask.nii.gz").read_bytes()
    code, _, err = tak(*words, "--skip-existing", "--classes", "liver", "aorta")
    assert code == 1
    assert f"{tmp_path}/mask.nii.gz: written without aorta; omit --skip-existing" in err
    assert tak(*words, "--skip-existing", "--classes", "liver")[0] == 0
    assert (tmp_path / "mask.nii.gz").read_bytes() == before
    assert set(json.loads((tmp_path / "mask.json").read_text())["organs"]) == {"liver", "spleen"}


def test_a_mask_that_somebody_put_there_stays(tak, run, series, tmp_path):
    scan = read_volume(series)
    drawn = np.zeros(scan.voxels.shape, np.uint8)
    drawn[3, 4, 5] = 1
    write_labels(tmp_path / "mask.nii.gz", drawn, scan.affine)
    words = ["predict", run, series, "-o", tmp_path / "mask.nii.gz", "--skip-existing"]
    assert tak(*words)[1] == "skipped, all requested outputs exist: 1\n"
    assert tak(*words, "--dicom-seg")[0] == 0
    assert pydicom.dcmread(tmp_path / "mask.seg.dcm").pixel_array.sum() == 1
    write_labels(tmp_path / "mask.nii.gz", drawn[:5], scan.affine)
    (tmp_path / "mask.seg.dcm").unlink()
    code, _, err = tak(*words, "--dicom-seg")
    assert code == 1
    assert "its mask" in err
    (tmp_path / "mask.json").write_text("[1]")
    code, _, err = tak(*words)
    assert (code, "mask.json: not a report of tak predict" in err) == (1, True)


def test_a_place_for_the_mask_that_cannot_be_written_is_told_before_the_network_runs(
    tak, run, tmp_path, no_network
):
    write_volume(tmp_path / "ct.nii.gz", np.zeros((9, 9, 9), np.int16), np.eye(4))
    (tmp_path / "file").write_text("")
    (tmp_path / "out/ct.nii.gz").mkdir(parents=True)
    no_network()
    for output, told in [
        (tmp_path / "file/mask.nii.gz", "file: nothing can be written there (File exists)"),
        (tmp_path / "file/deep/mask.nii.gz", "deep: nothing can be written there (Not a directory"),
        (tmp_path / "out", "out/ct.nii.gz: a folder of that name exists"),
    ]:
        code, _, err = tak("predict", run, tmp_path / "ct.nii.gz", "-o", output)
        assert (code, told in err) == (1, True), err
        assert len(err.splitlines()) == 1


def test_a_tilted_gantry_is_warned_about_and_refused_where_no_file_holds_it(
    tak, run, tmp_path, monkeypatch
):
    gray = np.random.default_rng(0).normal(40, 150, (9, 12, 10))
    gray[:, :2] = -1000
    image = SimpleITK.GetImageFromArray(2 * (gray // 2).astype(np.int16))
    image.SetSpacing((5.0, 6.0, 2.5))
    write_series(tmp_path / "series", image, tilt=0.3)
    words = ["predict", run, tmp_path / "series", "--classes", "liver", "-o"]
    code, _, err = tak(*words, tmp_path / "mask.nii.gz")
    assert code == 0
    assert "its axes are 16.7 degrees off the right angle (a tilted gantry)" in err
    monkeypatch.setattr("pipeline.prediction.predictor.predict_scan", None)
    code, _, err = tak(*words, tmp_path / "mask.nrrd")
    assert (code, "a tilted gantry?); write .nii.gz instead" in err) == (1, True)


def test_a_scan_that_memory_does_not_hold_keeps_no_other_from_its_mask(
    tak, run, tmp_path, monkeypatch
):
    from pipeline.prediction import predictor

    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        write_volume(
            tmp_path / f"in/{name}.nii.gz", np.eye(9)[None] * np.ones((9, 1, 1)), np.eye(4)
        )
    real = predictor.predict_scan
    calls = []

    def once_too_large(*given, **named):
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError("Unable to allocate 99 GiB")
        return real(*given, **named)

    monkeypatch.setattr(predictor, "predict_scan", once_too_large)
    code, _, err = tak("predict", run, tmp_path / "in", "-o", tmp_path / "out")
    assert code == 1
    assert "Unable to allocate 99 GiB" in err
    assert "1 of 2 scans could not be segmented" in err
    assert nibabel.load(tmp_path / "out/b.nii.gz").shape == (9, 9, 9)


@pytest.mark.parametrize("whole", [True, False])
def test_a_disk_that_gets_full_is_an_error_and_leaves_nothing_half(
    tak, run, series, tmp_path, whole
):
    """A limit on the size of a file stands in for the disk; through memory it would be fatal."""
    resource = pytest.importorskip("resource")
    words = ["predict", run, series, "-o", tmp_path / "out/mask.nii.gz", "--save-probabilities"]
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**8 if whole else 6000, before[1]))
    try:
        code, _, err = tak(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    if whole:
        assert code == 0
        assert "mask-probabilities" in left
        return
    assert code == 1
    assert "out/mask.nii.gz: [Errno 27] File too large" in err
    assert left == []


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGINT as a terminal sends it")
def test_ctrl_c_leaves_whole_files_and_a_second_call_goes_on(tak, run, tmp_path):
    (tmp_path / "in").mkdir()
    gray = np.random.default_rng(0).normal(40, 150, (36, 36, 36)).astype(np.int16)
    for number in range(12):
        write_volume(tmp_path / f"in/{number:02}.nii.gz", gray, np.diag([5.0, 5, 5, 1]))
    command = [sys.executable, "-m", "pipeline", "predict", str(run), "in", "-o", "out"]
    command += ["--save-probabilities", "--device", "cpu"]
    where = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    work = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **where,
    )
    wait_until(lambda: (tmp_path / "out/00.nii.gz").is_file())
    work.send_signal(signal.SIGINT)
    _, err = work.communicate(timeout=30)
    assert work.returncode in (1, 130)
    assert b"Traceback" not in err
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert not [name for name in left if name.startswith(".")]
    masks = sorted(name for name in left if name.endswith(".nii.gz"))
    assert 1 <= len(masks) < 12
    for name in masks:
        assert nibabel.load(tmp_path / "out" / name).get_fdata().shape == gray.shape
    for name in sorted(path.name for path in (tmp_path / "in").iterdir())[len(masks) + 1 :]:
        (tmp_path / "in" / name).unlink()
    before = (tmp_path / "out/00.nii.gz").stat().st_mtime_ns
    words = [run, tmp_path / "in", "-o", tmp_path / "out", *command[-3:], "--skip-existing"]
    assert tak("predict", *words)[0] == 0
    assert (tmp_path / "out/00.nii.gz").stat().st_mtime_ns == before
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == len(masks) + 1
