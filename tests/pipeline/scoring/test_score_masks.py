"""Masks that nibabel and SimpleITK wrote, scored by `tak evaluate MASKS --truth FOLDER`."""

import json
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from pipeline.results.result_files import read_evaluation
from segmentation.data.case_files import read_case
from segmentation.data.descriptor import DatasetSpec
from segmentation.evaluation.metrics import dice
from segmentation.imaging.volume import read_labels


@pytest.fixture(scope="module")
def predictions(prepared, population):
    """A wrong but near prediction of every test case: the truth, shifted by a voxel."""
    found = {}
    for case in prepared.split.test:
        path = population / "labelsTs" / f"{case}.nii.gz"
        image = nibabel.load(path)
        found[case] = np.roll(np.asarray(image.dataobj).astype(np.uint8), 1, axis=0), image
    return found


def save(path, voxels, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), path)


def nnunet(folder, predictions, spec):
    """As nnU-Net leaves predictions: label maps with its own numbers, and `dataset.json`."""
    names = {name: len(spec.labels) + 1 - label for name, label in spec.labels.items()}
    table = np.array([0, *(names[name] for name in spec.labels)], np.uint8)
    for case, (voxels, image) in predictions.items():
        save(folder / f"{case}.nii.gz", table[voxels], image)
    labels = {"background": 0} | {name.replace(" ", "_"): value for name, value in names.items()}
    (folder / "dataset.json").write_text(json.dumps({"name": "nn", "labels": labels}))
    (folder / "plans.json").write_text("{}")
    return folder


def expected_dice(prepared, predictions):
    return {
        case: dice(voxels, read_case(prepared.file(case)).source_label, prepared.spec.classes)
        for case, (voxels, _) in predictions.items()
    }


def check_scores(file, prepared, predictions):
    evaluation = read_evaluation(file)
    for case, organs in expected_dice(prepared, predictions).items():
        for organ, value in organs.items():
            assert evaluation.cases[case][organ]["dice"] == pytest.approx(value, nan_ok=True)
    return evaluation


def test_label_maps_of_nnunet_are_matched_by_name(tak, prepared, predictions, tmp_path):
    masks = nnunet(tmp_path / "nn", predictions, prepared.spec)
    code, out, err = tak("evaluate", masks, "--truth", prepared.root)
    assert code == 0, err
    evaluation = check_scores(masks / "evaluation-test.json", prepared, predictions)
    assert (evaluation.data_set, evaluation.part) == ("phantom", "test")
    assert "on which cases it was trained is not known" in out
    assert (masks / "evaluation-test.csv").is_file()


def test_masks_stand_beside_a_run_in_one_comparison(tak, run, prepared, predictions, tmp_path):
    masks = nnunet(tmp_path / "nn", predictions, prepared.spec)
    for words in ((masks, "--truth", prepared.root), (run, prepared.root)):
        code, _, err = tak("evaluate", *words, "-o", tmp_path / words[0].name)
        assert code == 0, err
    code, out, err = tak("compare", tmp_path / "nn", tmp_path / run.name)
    assert code == 0, err
    assert "mean of all" in out
    code, out, _ = tak("compare", tmp_path / "nn", tmp_path / run.name, "--json")
    assert "not known" in json.loads(out)["first"]["note"]


@pytest.mark.parametrize("inner", ["", "segmentations"])
def test_a_mask_per_organ_is_matched_by_its_file(tak, prepared, predictions, tmp_path, inner):
    for case, (voxels, image) in predictions.items():
        for name, label in prepared.spec.labels.items():
            first, _, rest = name.partition(" ")
            stem = f"{rest}_{first}" if first in ("left", "right") else name.replace(" ", "_")
            path = tmp_path / "ts" / case / inner / f"{stem}.nii.gz"
            save(path, (voxels == label).astype(np.uint8), image)
        save(tmp_path / "ts" / case / inner / "skull.nii.gz", np.zeros_like(voxels), image)
    code, out, err = tak("evaluate", tmp_path / "ts", "--truth", prepared.root)
    assert code == 0, err
    check_scores(tmp_path / "ts" / "evaluation-test.json", prepared, predictions)
    assert "not in the truth, so not scored: skull" in out


def test_masks_of_simpleitk_with_a_file_per_prompt(tak, prepared, predictions, tmp_path):
    """VoxTell's `CASE_PROMPT` files, in another axis order and as NRRD."""
    for case, (voxels, image) in predictions.items():
        flipped = sitk.DICOMOrient(to_sitk(voxels, image), "PIR")
        for name, label in prepared.spec.labels.items():
            (tmp_path / "vox").mkdir(exist_ok=True)
            sitk.WriteImage(flipped == label, str(tmp_path / "vox" / f"{case}_{name}.nrrd"))
    code, _, err = tak("evaluate", tmp_path / "vox", "--truth", prepared.root)
    assert code == 0, err
    check_scores(tmp_path / "vox" / "evaluation-test.json", prepared, predictions)


def to_sitk(voxels, image):
    """A SimpleITK image (LPS) of an array and its nibabel image (RAS)."""
    to_lps = np.diag([-1, -1, 1]) @ image.affine[:3, :3]
    spacing = np.linalg.norm(to_lps, axis=0)
    made = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    made.SetSpacing(spacing.tolist())
    made.SetDirection((to_lps / spacing).ravel().tolist())
    made.SetOrigin((np.diag([-1, -1, 1]) @ image.affine[:3, 3]).tolist())
    return made


def test_names_in_the_header_as_totalsegmentator_writes_them(tak, prepared, predictions, tmp_path):
    (tmp_path / "ml").mkdir()
    rows = "".join(
        f'<Label Key="{label}" Red="1" Green="0.5" Blue="0" Alpha="1">'
        f"<![CDATA[{name.replace(' ', '_')}]]></Label>\n"
        for name, label in prepared.spec.labels.items()
    )
    for case, (voxels, image) in predictions.items():
        made = nibabel.Nifti1Image(voxels, image.affine)
        xml = f"<CaretExtension><LabelTable>{rows}</LabelTable></CaretExtension>"
        made.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, xml.encode()))
        nibabel.save(made, tmp_path / "ml" / f"{case}.nii.gz")
    code, _, err = tak("evaluate", tmp_path / "ml", "--truth", prepared.root)
    assert code == 0, err
    check_scores(tmp_path / "ml" / "evaluation-test.json", prepared, predictions)


def test_overlapping_organs_are_scored_by_their_own_masks(tak, prepared, predictions, tmp_path):
    first, second, *_ = prepared.spec.labels
    for case, (voxels, image) in predictions.items():
        for name, label in prepared.spec.labels.items():
            both = (voxels == label) | (name == second) & (voxels == prepared.spec.labels[first])
            save(tmp_path / "o" / f"{case}_{name}.nii.gz", both.astype(np.uint8), image)
    code, out, err = tak("evaluate", tmp_path / "o", "--truth", prepared.root)
    assert code == 0, err
    assert "organs overlap in 2 cases" in out
    evaluation = read_evaluation(tmp_path / "o" / "evaluation-test.json")
    for case, organs in expected_dice(prepared, predictions).items():
        assert evaluation.cases[case][first]["dice"] == pytest.approx(organs[first])
        assert evaluation.cases[case][second]["dice"] < organs[second]
    code, _, err = tak("evaluate", tmp_path / "o", "--truth", prepared.root, "--rules", "dhc")
    assert "needs one label per voxel" in err


@pytest.mark.parametrize("rules", ["ga", "dhc", "magicnet"])
def test_published_rules_compare_on_the_prepared_grid(tak, prepared, population, tmp_path, rules):
    for case in prepared.split.test:
        (tmp_path / "same").mkdir(exist_ok=True)
        shutil.copy(population / "labelsTs" / f"{case}.nii.gz", tmp_path / "same")
    words = ("evaluate", tmp_path / "same", "--truth", prepared.root, "--rules", rules)
    code, _, err = tak(*words, "--labels", "phantom")
    assert code == 0, err
    evaluation = read_evaluation(tmp_path / "same" / f"evaluation-test-{rules}.json")
    values = {s["dice"] for organs in evaluation.cases.values() for s in organs.values()}
    assert values <= {0.0, 1.0}
    assert 1.0 in values


def test_truth_may_be_a_data_set_or_a_plain_folder(
    tak, prepared, population, predictions, tmp_path
):
    masks = nnunet(tmp_path / "nn", predictions, prepared.spec)
    for name, words in {
        "raw": ("--truth", population),
        "plain": ("--truth", population / "labelsTs"),
        "named": ("--truth", population / "labelsTs", "--descriptor", "phantom"),
    }.items():
        code, _, err = tak("evaluate", masks, *words, "-o", tmp_path / name)
        assert code == 0, err
        check_scores(tmp_path / name / "evaluation-test.json", prepared, predictions)


def test_a_case_without_a_mask_is_named(tak, prepared, predictions, tmp_path):
    masks = nnunet(tmp_path / "nn", predictions, prepared.spec)
    case = prepared.split.test[-1]
    (masks / f"{case}.nii.gz").unlink()
    code, _, err = tak("evaluate", masks, "--truth", prepared.root)
    assert code == 1
    assert f"no mask of {case}; 1 of 2 cases have one" in err
    assert not (masks / "evaluation-test.json").exists()


def test_a_mask_on_another_grid_is_refused_with_both_shapes(tak, prepared, predictions, tmp_path):
    masks = nnunet(tmp_path / "nn", predictions, prepared.spec)
    case = prepared.split.test[0]
    voxels, image = predictions[case]
    save(masks / f"{case}.nii.gz", voxels[:-1], image)
    code, _, err = tak("evaluate", masks, "--truth", prepared.root)
    assert code == 1
    assert f"case {case}: the truth has shape" in err
    moved = nibabel.Nifti1Image(voxels, image.affine + np.eye(4, k=3) * 40)
    nibabel.save(moved, masks / f"{case}.nii.gz")
    code, _, err = tak("evaluate", masks, "--truth", prepared.root)
    assert "differ by up to 40 mm" in err


def test_names_that_differ_are_matched_by_hand(tak, prepared, predictions, tmp_path):
    masks = nnunet(tmp_path / "nn", predictions, prepared.spec)
    labels = json.loads((masks / "dataset.json").read_text())["labels"]
    labels["lien"] = labels.pop("spleen")
    (masks / "dataset.json").write_text(json.dumps({"labels": labels}))
    code, _, err = tak("evaluate", masks, "--truth", prepared.root)
    assert code == 1
    assert "no label is named spleen" in err
    assert "--match 'spleen=NAME'" in err
    code, out, err = tak("evaluate", masks, "--truth", prepared.root, "--match", "spleen=lien")
    assert code == 0, err
    assert "lien as spleen" in out
    code, _, err = tak("evaluate", masks, "--truth", prepared.root, "--match", "spleen=livr")
    assert "no label 'livr'" in err
    assert "did you mean liver?" in err


def test_masks_without_names_are_refused(tak, prepared, population, tmp_path):
    (tmp_path / "bare").mkdir()
    for case in prepared.split.test:
        shutil.copy(population / "labelsTs" / f"{case}.nii.gz", tmp_path / "bare")
    code, _, err = tak("evaluate", tmp_path / "bare", "--truth", prepared.root)
    assert code == 1
    assert "nothing names its labels" in err


def test_options_of_runs_and_masks_are_not_mixed(tak, prepared, tmp_path):
    assert (
        "--beside is for runs"
        in tak("evaluate", tmp_path, "--truth", prepared.root, "--beside", "published")[2]
    )
    assert (
        "--labels needs --truth" in tak("evaluate", tmp_path, prepared.root, "--labels", "amos")[2]
    )
    assert "or, for a folder of masks, --truth" in tak("evaluate", tmp_path)[2]
    assert (
        "holds no run; a folder of masks is scored by"
        in tak("evaluate", tmp_path, prepared.root)[2]
    )


def test_scores_on_other_data_are_not_written_over(tak, prepared, predictions, tmp_path):
    masks = nnunet(tmp_path / "nn", predictions, prepared.spec)
    old = json.dumps({"data_set": "other", "protocol": "p", "split": "s"})
    (masks / "evaluation-test.json").write_text(old)
    code, _, err = tak("evaluate", masks, "--truth", prepared.root)
    assert code == 1
    assert "holds scores on other, p, s" in err


def test_the_truth_scores_itself_perfectly(tak, population, tmp_path):
    spec = DatasetSpec.read(population / "dataset.toml")
    code, _, err = tak("evaluate", population / "labelsTs", "--truth", population, "-o", tmp_path)
    assert code == 0, err
    evaluation = read_evaluation(tmp_path / "evaluation-test.json")
    for case, organs in evaluation.cases.items():
        present = set(np.unique(read_labels(population / "labelsTs" / f"{case}.nii.gz").voxels))
        for organ, scores in organs.items():
            if spec.labels[organ] in present:
                assert scores == {"dice": 1.0, "nsd": 1.0, "hd95_mm": 0.0, "assd_mm": 0.0}


def test_masks_are_a_baseline_of_a_report(tak, run, prepared, predictions, tmp_path):
    masks = nnunet(tmp_path / "nnunet", predictions, prepared.spec)
    scored = shutil.copytree(run, tmp_path / "tak")
    assert tak("evaluate", scored, prepared.root)[0] == 0
    code, _, err = tak("report", scored, masks, "-o", tmp_path / "report")
    assert code == 1
    assert "nor does it hold evaluation-test.json" in err
    assert tak("evaluate", masks, "--truth", prepared.root)[0] == 0
    code, out, err = tak("report", scored, masks, "-o", tmp_path / "report", "--json")
    assert code == 0, err
    page = next((tmp_path / "report").glob("*.html")).read_text(encoding="utf-8")
    assert "masks (nnunet)" in page
    assert "on which cases it was trained is not known" in page
    assert "masks (nnunet)" in out
    code, _, err = tak("report", masks, scored, "-o", tmp_path / "other")
    assert code == 1


def test_masks_that_a_run_wrote_score_as_the_run(tak, run, prepared, population, tmp_path):
    for case in prepared.split.test:
        scan = population / "imagesTs" / f"{case}_0000.nii.gz"
        (tmp_path / "masks").mkdir(exist_ok=True)
        code, _, err = tak("predict", run, scan, "-o", tmp_path / "masks" / f"{case}.nii.gz")
        assert code == 0, err
    assert tak("evaluate", run, prepared.root, "-o", tmp_path / "run")[0] == 0
    words = ("--truth", prepared.root, "--labels", "phantom", "-o", tmp_path / "again")
    assert tak("evaluate", tmp_path / "masks", *words)[0] == 0
    one, other = (
        json.loads((tmp_path / name / "evaluation-test.json").read_text())
        for name in ("run", "again")
    )
    for key in ("cases", "means", "organs", "groups", "protocol", "split", "data_set"):
        assert one[key] == other[key]
