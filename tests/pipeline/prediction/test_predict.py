import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

import pipeline
from pipeline import Predictor
from pipeline.prediction.targets import scans_of, targets
from segmentation.data.descriptor import DatasetSpec
from segmentation.imaging.io import stem_of
from segmentation.imaging.volume import Volume, read_labels, read_volume, write_volume
from tests.support.paths import DATA
from tests.support.small_run import make_run

SPEC = DatasetSpec.read(DATA / "phantom.toml")
AFFINE = np.array([[0, -6, 0, 20], [5, 0, 0, -30], [0, 0, 8, 3], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("predict") / "run", SPEC)


@pytest.fixture
def scans(tmp_path) -> Path:
    (tmp_path / "scans").mkdir()
    for number in range(2):
        write_volume(tmp_path / "scans" / f"ct{number}.nii.gz", voxels(number), AFFINE)
    return tmp_path / "scans"


def voxels(seed: int = 0) -> np.ndarray:
    """Air, and tissue in which an untrained network sees several organs."""
    gray = np.random.default_rng(seed).normal(40, 150, (10, 12, 9))
    gray[:, :2] = -1000
    return gray.astype(np.int16)


def test_a_mask_comes_with_its_measures_names_and_colors(tak, run, scans, tmp_path):
    code, out, _ = tak("predict", run, scans / "ct0.nii.gz", "-o", tmp_path / "out/mask.nii.gz")
    assert code == 0
    assert f"wrote {tmp_path}/out/mask.nii.gz" in out
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["mask.ctbl", "mask.json", "mask.label", "mask.nii.gz"]
    mask = nibabel.load(tmp_path / "out/mask.nii.gz")
    np.testing.assert_allclose(mask.affine, AFFINE)
    assert mask.get_data_dtype() == np.uint8
    labels, scan = np.asarray(mask.dataobj), voxels()
    organs = json.loads((tmp_path / "out/mask.json").read_text())["organs"]
    assert list(organs) == list(SPEC.classes[1:])
    assert len(np.unique(labels)) > 2
    for name, found in organs.items():
        inside = labels == SPEC.labels[name]
        assert found["voxels"] == inside.sum()
        assert found["volume_ml"] == pytest.approx(inside.sum() * 0.24)
        if inside.any():
            assert found["mean_hu"] == pytest.approx(scan[inside].mean(), abs=0.01)
        else:
            assert found["mean_hu"] is None


def test_color_files_name_every_class_once(tak, run, scans, tmp_path):
    assert tak("predict", run, scans, "-o", tmp_path / "out")[0] == 0
    rows = (tmp_path / "out/organs.ctbl").read_text().splitlines()
    rows = [row.split() for row in rows if not row.startswith("#")]
    assert [row[1].replace("_", " ") for row in rows] == list(SPEC.classes)
    assert [int(row[0]) for row in rows] == list(range(14))
    assert len({tuple(row[2:5]) for row in rows}) == 14
    lines = (tmp_path / "out/organs.label").read_text().splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    assert [line.split('"')[1] for line in lines] == ["Clear Label", *SPEC.classes[1:]]
    assert [line.split()[1:4] for line in lines] == [row[2:5] for row in rows]


def test_a_folder_is_segmented_scan_by_scan_and_what_exists_is_skipped(tak, run, scans, tmp_path):
    assert tak("predict", run, scans, "-o", tmp_path / "out")[0] == 0
    (tmp_path / "out/ct1.nii.gz").unlink()
    before = (tmp_path / "out/ct0.nii.gz").stat().st_mtime_ns
    code, out, _ = tak("predict", run, scans, "-o", tmp_path / "out", "--skip-existing")
    assert code == 0
    assert "skipped, all requested outputs exist: 1" in out
    assert (tmp_path / "out/ct0.nii.gz").stat().st_mtime_ns == before
    assert (tmp_path / "out/ct1.nii.gz").is_file()


def test_classes_are_chosen_by_several_words_and_keep_their_labels(tak, run, scans, tmp_path):
    scan = scans / "ct0.nii.gz"
    assert tak("predict", run, scan, "-o", tmp_path / "all.nii.gz")[0] == 0
    everything = read_labels(tmp_path / "all.nii.gz").voxels
    first, second = np.unique(everything)[-2:]
    names = [SPEC.classes[first], SPEC.classes[second].upper()]
    words = ["--classes", *names, "-o", tmp_path / "two.nii.gz"]
    assert tak("predict", run, scan, *words)[0] == 0
    expected = np.where(np.isin(everything, (first, second)), everything, 0)
    np.testing.assert_array_equal(read_labels(tmp_path / "two.nii.gz").voxels, expected)
    assert len(json.loads((tmp_path / "two.json").read_text())["organs"]) == 2
    code, _, err = tak("predict", run, scan, "-o", tmp_path / "x.nii.gz", "--classes", "heart")
    assert (code, "no organ 'heart' in phantom; there is spleen" in err) == (1, True)


def test_one_bad_scan_does_not_keep_the_others_from_a_mask(tak, run, scans, tmp_path):
    (scans / "ct0.nii.gz").write_bytes((scans / "ct0.nii.gz").read_bytes()[:500])
    nibabel.save(
        nibabel.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), np.eye(4)), scans / "four.nii.gz"
    )
    code, out, err = tak("predict", run, scans, "-o", tmp_path / "out")
    assert code == 1
    assert "ct0.nii.gz: damaged" in err
    assert "four.nii.gz: shape (4, 4, 4, 3); one three-dimensional scan is needed" in err
    assert "2 of 3 scans could not be segmented" in err
    assert "ct1.nii.gz" in out
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"ct1.nii.gz", "ct1.json", "organs.ctbl", "organs.label"}


def test_probabilities_add_up_to_the_mask(tak, run, scans, tmp_path):
    words = ["-o", tmp_path / "mask.nii.gz", "--save-probabilities"]
    assert tak("predict", run, scans / "ct0.nii.gz", *words)[0] == 0
    maps = [
        nibabel.load(tmp_path / f"mask-probabilities/{'_'.join(name.split())}.nii.gz")
        for name in SPEC.classes[1:]
    ]
    for found in maps:
        np.testing.assert_allclose(found.affine, AFFINE)
    shares = np.stack([found.get_fdata() for found in maps])
    shares = np.concatenate([1 - shares.sum(0, keepdims=True), shares])
    labels = read_labels(tmp_path / "mask.nii.gz").voxels
    chosen = np.take_along_axis(shares, labels[None].astype(int), 0)[0]
    assert (chosen >= shares[1:].max(0) - 1 / 255).all()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda gray: gray + 1024, "hold no air"),
        (lambda gray: np.clip((gray + 150) / 400, 0, 1), "intensities from 0 to 1 hold no air"),
        (lambda gray: np.where(gray > -500, 2000, -1000), "only 0.0 % of the voxels are within"),
        (lambda gray: np.full_like(gray, 7), "all intensities are 7"),
    ],
)
def test_a_scan_that_is_not_in_hu_is_warned_about(tak, run, tmp_path, change, told):
    write_volume(tmp_path / "scan.nii.gz", change(voxels()).astype(np.float32), AFFINE)
    code, _, err = tak("predict", run, tmp_path / "scan.nii.gz", "-o", tmp_path / "mask.nii.gz")
    assert code == 0
    assert f"warning: {tmp_path}/scan.nii.gz: " in err
    assert told in err
    assert told in json.loads((tmp_path / "mask.json").read_text())["warning"]


def test_json_on_standard_output_is_all_that_is_there(tak, run, scans, tmp_path):
    code, out, _ = tak("predict", run, scans, "-o", tmp_path / "out", "--json")
    assert code == 0
    assert [Path(report["scan"]).name for report in json.loads(out)] == [
        "ct0.nii.gz",
        "ct1.nii.gz",
    ]


def test_a_dicom_series_and_an_nrrd_become_masks_in_the_same_place(tak, run, scans, tmp_path):
    from tests.support.dicom_series import INTERCEPT, SLOPE, write_series

    scan = Volume(2 * (voxels() // 2).astype(np.float32), AFFINE)
    (tmp_path / "in").mkdir()
    write_volume(tmp_path / "in/ct.nrrd", scan.voxels, AFFINE)
    image = SimpleITK.Cast(SimpleITK.ReadImage(str(tmp_path / "in/ct.nrrd")), SimpleITK.sitkInt16)
    write_series(tmp_path / "in/series", image)
    assert (SLOPE, INTERCEPT) == (2.0, -1024.0)
    assert tak("predict", run, tmp_path / "in", "-o", tmp_path / "out")[0] == 0
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"ct.nrrd", "series.nii.gz", "series.json"} <= made
    first = read_labels(tmp_path / "out/ct.nrrd")
    second = read_labels(tmp_path / "out/series.nii.gz")
    centers = [
        mask.affine[:3] @ [*np.argwhere(mask.voxels == value).mean(0), 1]
        for mask in (first, second)
        for value in (np.unique(first.voxels)[-1],)
    ]
    np.testing.assert_allclose(centers[0], centers[1], atol=1e-3)


def test_lists_and_several_scans_are_taken(scans, tmp_path):
    (tmp_path / "list.txt").write_text("# mine\nscans/ct1.nii.gz\n\nscans/ct0.nii.gz\n")
    assert [path.name for path in scans_of(tmp_path / "list.txt")] == ["ct1.nii.gz", "ct0.nii.gz"]
    found = targets([scans / "ct0.nii.gz", scans / "ct1.nii.gz"], tmp_path / "out")
    assert [stem_of(target.mask) for target in found] == ["ct0", "ct1"]


def test_inputs_that_do_not_fit_their_output_are_refused(scans, tmp_path):
    one = scans / "ct0.nii.gz"
    (tmp_path / "other").mkdir()
    shutil.copy(one, tmp_path / "other")
    (tmp_path / "notes.md").write_text("no scan")
    (tmp_path / "empty.txt").write_text("\n")
    for inputs, output, told in [
        ([scans], tmp_path / "mask.nii.gz", "give a folder"),
        ([one], one, "would overwrite the scan"),
        ([scans], scans, "would overwrite the scan"),
        ([one], tmp_path / "mask.nhdr", r"masks end in .nii.gz, .nii, .nrrd, .mha"),
        ([one, tmp_path / "other"], tmp_path / "out", "would both become"),
        ([tmp_path / "notes.md"], tmp_path / "out", "neither a scan"),
    ]:
        with pytest.raises(ValueError, match=told):
            targets(inputs, output)
    for inputs, told in [
        ([tmp_path / "nothing"], "no such scan"),
        ([tmp_path / "empty.txt"], "an empty list"),
    ]:
        with pytest.raises(FileNotFoundError, match=told):
            targets(inputs, tmp_path / "out")


def test_the_example_for_python_runs_as_printed(run, scans, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "runs/tak")
    shutil.copy(scans / "ct0.nii.gz", tmp_path / "ct.nii.gz")
    assert pipeline.__doc__ is not None
    lines = [line[4:] for line in pipeline.__doc__.splitlines() if line.startswith("    ")]
    assert len(lines) == 3
    names: dict = {}
    exec("\n".join(lines), names)
    found = names["mask"]
    np.testing.assert_array_equal(read_labels("mask.nii.gz").voxels, found.labels)
    np.testing.assert_array_equal(found.affine, AFFINE)
    assert found.classes == SPEC.classes
    assert found.mask("liver").sum() == found.organs["liver"]["voxels"]
    with pytest.raises(LookupError, match="no organ 'heart'"):
        found.mask("heart")


def test_python_warns_of_what_is_not_in_hu(run):
    scan = Volume((voxels() + 1024).astype(np.float32), AFFINE)
    with pytest.warns(UserWarning, match="the scan: intensities from 24 to .* hold no air"):
        Predictor(run, device="cpu").segment(scan)


def test_what_cannot_be_opened_is_one_line(tak, run, scans, tmp_path):
    scan, out = scans / "ct0.nii.gz", ["-o", tmp_path / "mask.nii.gz"]
    for model, words, told in [
        (tmp_path / "none", [], "none: there is no such file or folder"),
        (tmp_path / "none.zip", [], "none.zip: there is no such file or folder"),
        (run, ["--predictor", "teacher"], "no predictor 'teacher'; there is student"),
        (run, ["--device", "abacus"], "--device abacus: this machine has"),
    ]:
        code, _, err = tak("predict", model, scan, *out, *words)
        assert code == 1
        assert told in err
        assert len(err.strip().splitlines()) == 1


def test_a_read_only_view_of_a_scan_is_left_as_it_was(run, scans):
    before = read_volume(scans / "ct0.nii.gz")
    voxels_before = before.voxels.copy()
    Predictor(run, device="cpu").segment(before)
    np.testing.assert_array_equal(before.voxels, voxels_before)


def test_a_nifti_that_states_no_orientation_is_warned_about(tak, run, scans, tmp_path):
    image = nibabel.Nifti1Image(voxels(), None)
    image.header.set_zooms((5, 6, 8))
    nibabel.save(image, tmp_path / "bare.nii.gz")
    code, _, err = tak("predict", run, tmp_path / "bare.nii.gz", "-o", tmp_path / "mask.nii.gz")
    assert code == 0
    told = "neither sform nor qform is set"
    assert f"warning: {tmp_path}/bare.nii.gz: {told}" in err
    assert told in json.loads((tmp_path / "mask.json").read_text())["warning"]
    with pytest.warns(UserWarning, match=told):
        Predictor(run, device="cpu").segment(tmp_path / "bare.nii.gz")
