"""`tak init`: descriptors of nnU-Net, TotalSegmentator, AMOS, BTCV and plain folders."""

import json
import shutil

import nibabel
import numpy as np
import pytest

from segmentation.data.case_files import load_prepared, read_case
from segmentation.data.descriptor import DatasetSpec, Split
from segmentation.data.layouts import detect_layout
from segmentation.data.raw_cases import cases_in


@pytest.fixture(scope="module")
def scans(population):
    """Scan and mask of every case with a mask, as nibabel images."""
    found = {}
    for label in sorted(population.glob("labels*/*.nii.gz")):
        case = label.name.removesuffix(".nii.gz")
        (image,) = population.glob(f"images*/{case}_0000.nii.gz")
        found[case] = nibabel.load(image), nibabel.load(label)
    return found


@pytest.fixture(scope="module")
def spec(population):
    return DatasetSpec.read(population / "dataset.toml")


def voxels(image):
    return np.asarray(image.dataobj).astype(np.uint8)


def save(image, path, data=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.asarray(image.dataobj) if data is None else data
    nibabel.save(nibabel.Nifti1Image(data, image.affine), path)


def nnunet(root, scans, spec):
    for case, (image, label) in scans.items():
        save(image, root / "imagesTr" / f"{case}_0000.nii.gz")
        save(label, root / "labelsTr" / f"{case}.nii.gz", 3 * voxels(label))
    labels = {"background": 0} | {n.replace(" ", "_"): 3 * v for n, v in spec.labels.items()}
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))


def totalsegmentator(root, scans, spec):
    for case, (image, label) in scans.items():
        save(image, root / case / "ct.nii.gz")
        for name, value in spec.labels.items():
            first, _, rest = name.partition(" ")
            stem = f"{rest}_{first}" if first in ("left", "right") else name
            path = root / case / "segmentations" / f"{stem.replace(' ', '_')}.nii.gz"
            save(label, path, (voxels(label) == value).astype(np.uint8))


def one_label_map(root, scans, spec):
    rows = "".join(
        f'<Label Key="{value}"><![CDATA[{name.replace(" ", "_")}]]></Label>'
        for name, value in spec.labels.items()
    )
    for case, (image, label) in scans.items():
        save(image, root / case / "ct.nii.gz")
        made = nibabel.Nifti1Image(voxels(label), label.affine)
        made.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, rows.encode()))
        nibabel.save(made, root / case / "segmentations.nii.gz")


def amos(root, scans, spec):
    for case, (image, label) in scans.items():
        save(image, root / "imagesTr" / f"amos_{case}.nii.gz")
        save(label, root / "labelsTr" / f"amos_{case}.nii.gz")
    labels = {str(value): name for name, value in spec.labels.items()} | {"0": "background"}
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))


def synapse(root, scans, spec):
    for number, (image, label) in enumerate(scans.values(), start=1):
        save(image, root / "img" / f"img{number:04}.nii.gz")
        save(label, root / "label" / f"label{number:04}.nii.gz")
    (root / "dataset.json").write_text(json.dumps(spec.labels))


def pairs(root, scans, spec):
    for case, (image, label) in scans.items():
        save(image, root / "images" / f"{case}.nii.gz")
        save(label, root / "masks" / f"{case}_seg.nii.gz")
    (root / "dataset.json").write_text(json.dumps({"labels": spec.labels}))


LAYOUTS = {
    "nnunet": nnunet, "totalsegmentator": totalsegmentator, "one label map": one_label_map,
    "amos": amos, "synapse": synapse, "pairs": pairs,
}  # fmt: skip


@pytest.mark.parametrize("form", LAYOUTS)
def test_every_layout_gives_the_organs_that_it_holds(tak, scans, spec, form, tmp_path):
    root = tmp_path / "own data"
    LAYOUTS[form](root, scans, spec)
    layout = "totalsegmentator" if form == "one label map" else form
    assert detect_layout(root) == layout
    code, _, err = tak("init", root)
    assert code == 0, err
    made = DatasetSpec.read(root / "dataset.toml")
    assert (made.name, made.layout) == ("own-data", layout)
    assert set(made.labels) == set(spec.labels)
    for organ in spec.organs:
        assert made.organ(organ.name).side == organ.side
        assert made.organ(organ.name).snomed == organ.snomed
    assert "positions agree in 5 of 5 cases" in (root / "dataset.toml").read_text()
    check_prepared(tak, root, made, scans, spec, tmp_path)


def lists(folder, cases):
    """A split: one test case, two labeled ones, the others unlabeled."""
    test, *rest = sorted(cases)
    Split.derive(tuple(rest), tuple(rest[:2]), (), (test,)).write(folder)
    return folder


def check_prepared(tak, root, made, scans, spec, folder):
    """Voxels of every organ are those of one of the original masks."""
    cases = cases_in(root, made.layout)
    words = ("--split", lists(folder / "lists", cases), "--spacing", 12, 12, 12)
    code, _, err = tak("prepare", root, *words, "-o", folder / "prepared")
    assert code == 0, err
    prepared = load_prepared(folder / "prepared")
    originals = [
        {name: int((voxels(label) == value).sum()) for name, value in spec.labels.items()}
        for _, label in scans.values()
    ]
    for case in prepared.split.with_labels:
        mask = read_case(prepared.file(case)).source_label
        counts = {name: int((mask == index).sum()) for name, index in made.labels.items()}
        assert counts in originals


def test_organs_are_chosen_and_merged_by_name(tak, scans, spec, tmp_path):
    totalsegmentator(tmp_path / "ts", scans, spec)
    words = ("--organ", "liver", "--organ", "kidney=kidney_left+right_kidney")
    code, _, err = tak("init", tmp_path / "ts", "-o", tmp_path / "own.toml", *words)
    assert code == 0, err
    made = DatasetSpec.read(tmp_path / "own.toml")
    assert made.classes == ("background", "liver", "kidney")
    assert made.other_labels == "background"
    words = ("--descriptor", tmp_path / "own.toml", "--split", lists(tmp_path / "lists", scans))
    code, _, err = tak("prepare", tmp_path / "ts", *words, "-o", tmp_path / "p")
    assert code == 0, err
    prepared = load_prepared(tmp_path / "p")
    for case in prepared.split.with_labels:
        original = voxels(scans[case][1])
        mask = read_case(prepared.file(case)).source_label
        sides = [spec.labels["left kidney"], spec.labels["right kidney"]]
        assert np.array_equal(mask == 2, np.isin(original, sides))
        assert np.array_equal(mask == 1, original == spec.labels["liver"])
    code, _, err = tak("init", tmp_path / "ts", "-o", tmp_path / "b.toml", "--organ", "livr")
    assert code == 1
    assert "no organ 'livr' in the data" in err
    assert "did you mean liver?" in err


@pytest.mark.parametrize("place", [0, -1])
def test_an_organ_whose_mask_some_case_lacks_is_not_left_out_in_silence(
    tak, scans, spec, place, tmp_path
):
    """Whichever case lacks the file: the first one gave the names once."""
    root = tmp_path / "ts"
    totalsegmentator(root, scans, spec)
    case = sorted(scans)[place]
    mask = root / case / "segmentations" / "aorta.nii.gz"
    empty = nibabel.load(mask)
    mask.unlink()
    code, _, err = tak("init", root)
    assert code == 1
    assert f"{case}/segmentations: no mask aorta (.nii.gz)" in err
    assert "an organ that is not in the scan needs an empty mask" in err
    save(empty, mask, np.zeros(empty.shape, np.uint8))
    code, _, err = tak("init", root)
    assert code == 0, err
    assert "aorta" in DatasetSpec.read(root / "dataset.toml").labels


def test_measures_are_those_of_the_data(tak, scans, spec, tmp_path):
    nnunet(tmp_path / "nn", scans, spec)
    code, _, err = tak("init", tmp_path / "nn", "--cases", 0)
    assert code == 0, err
    text = (tmp_path / "nn" / "dataset.toml").read_text()
    made = DatasetSpec.read(tmp_path / "nn" / "dataset.toml")
    liver = spec.labels["liver"]
    volumes, inside, spacings = [], [], []
    for image, label in scans.values():
        voxel = abs(np.linalg.det(image.affine[:3, :3]))
        volumes.append((voxels(label) == liver).sum() * voxel / 1000)
        inside.append(np.asarray(image.dataobj)[voxels(label) > 0])
        spacings.append(np.abs(nibabel.as_closest_canonical(image).affine[:3, :3]).max(0))
    assert f"median {np.median(volumes):.0f} ml in 5 of 5 cases" in text
    low, high = np.percentile(np.concatenate(inside), (0.5, 99.5))
    assert abs(made.window_hu[0] - low) <= 20
    assert abs(made.window_hu[1] - high) <= 20
    assert np.allclose(made.grid.spacing_mm, np.median(spacings, axis=0), atol=0.3)


def test_exchanged_sides_are_noticed(tak, scans, spec, tmp_path):
    swapped = {}
    left, right = spec.labels["left kidney"], spec.labels["right kidney"]
    for case, (image, label) in scans.items():
        data = voxels(label).copy()
        data[voxels(label) == left], data[voxels(label) == right] = right, left
        swapped[case] = image, nibabel.Nifti1Image(data, label.affine)
    pairs(tmp_path / "p", swapped, spec)
    code, _, err = tak("init", tmp_path / "p")
    assert code == 0
    assert "right kidney is left of left kidney in 5 of 5 cases" in err


def test_a_folder_without_a_descriptor_is_taken_at_once_and_says_so(tak, scans, spec, tmp_path):
    pairs(tmp_path / "p", scans, spec)
    code, _, err = tak("inspect", tmp_path / "p")
    assert code == 0, err
    assert "has no dataset.toml: drafted p, 13 organs, layout pairs" in err
    words = ("--split", lists(tmp_path / "lists", scans), "-o", tmp_path / "prepared")
    code, _, err = tak("prepare", tmp_path / "p", *words)
    assert code == 0, err
    assert "drafted p" in err


def test_masks_without_names_get_placeholders(tak, scans, spec, tmp_path):
    pairs(tmp_path / "p", scans, spec)
    (tmp_path / "p" / "dataset.json").unlink()
    code, _, err = tak("init", tmp_path / "p")
    assert code == 0, err
    assert "structure 6" in DatasetSpec.read(tmp_path / "p" / "dataset.toml").classes


def test_what_cannot_be_read_is_named(tak, scans, spec, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = tak("init", tmp_path / "empty")
    assert code == 1
    assert "scans and masks in no known layout" in err
    pairs(tmp_path / "p", dict(list(scans.items())[:2]), spec)
    assert tak("init", tmp_path / "p")[0] == 0
    code, _, err = tak("init", tmp_path / "p")
    assert "exists; replace it with --force" in err
    assert "expected GiB, more than 0" in tak("init", tmp_path / "p", "--force", "--memory", 0)[2]
    shutil.rmtree(tmp_path / "p" / "masks")
    assert tak("init", tmp_path / "p", "--force")[0] == 1


def test_names_that_cannot_be_read_are_not_passed_over(tak, scans, spec, tmp_path):
    pairs(tmp_path / "p", scans, spec)
    (tmp_path / "p" / "dataset.json").write_text('{"labels": {"liver": [1, 2]}}')
    code, _, err = tak("init", tmp_path / "p")
    assert code == 1
    assert "regions of several labels are not read" in err


def test_missing_lists_are_named_before_anything_is_measured(tak, scans, spec, tmp_path):
    pairs(tmp_path / "p", scans, spec)
    code, _, err = tak("prepare", tmp_path / "p", "-o", tmp_path / "prepared")
    assert code == 1
    assert "has no lists of cases: `tak split" in err
    assert "measuring" not in err
