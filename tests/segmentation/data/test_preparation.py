import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from segmentation.data.case_files import in_sixteen_bits, write_case
from segmentation.data.descriptor import DatasetSpec, Grid, Split
from segmentation.data.preparation import load_prepared, prepare, read_case, to_grid
from segmentation.imaging.volume import (
    Volume,
    canonical,
    from_canonical,
    read_labels,
    read_volume,
    resample,
    resample_labels,
    write_labels,
    write_volume,
)
from segmentation.phantom.population import Population, make_population
from tests.support.paths import DATA

PHANTOM = DatasetSpec.read(DATA / "phantom.toml")
SPLIT = Split(labeled=("a",), unlabeled=("b",), validation=(), test=("c",))


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> tuple[Path, DatasetSpec, Split]:
    root = tmp_path_factory.mktemp("raw") / "phantoms"
    make_population(PHANTOM, root, Population(1, 1, 1, 1, spacing_mm=8))
    spec = DatasetSpec.read(root / "dataset.toml")
    return root, spec, spec.split(root=root)


@pytest.fixture(scope="module")
def prepared(phantoms, tmp_path_factory):
    root, spec, split = phantoms
    return prepare(spec, root, tmp_path_factory.mktemp("done"), split)


@pytest.fixture
def spec(tmp_path) -> DatasetSpec:
    text = (DATA / "phantom.toml").read_text()
    (tmp_path / "small.toml").write_text(text.replace("[7.0, 7.0, 7.0]", "[2.0, 2.0, 2.0]"))
    return DatasetSpec.read(tmp_path / "small.toml")


@pytest.fixture
def raw(tmp_path) -> Path:
    """Three small cases in nnU-Net's layout; `b` has a mask file that is no NIfTI."""
    root = tmp_path / "raw"
    for part, cases in {"Tr": "ab", "Ts": "c"}.items():
        (root / f"images{part}").mkdir(parents=True)
        (root / f"labels{part}").mkdir()
        for case in cases:
            scan, mask = small_case()
            write_volume(root / f"images{part}" / f"{case}_0000.nii.gz", scan, np.eye(4))
            write_labels(root / f"labels{part}" / f"{case}.nii.gz", mask, np.eye(4))
    (root / "labelsTr" / "b.nii.gz").write_text("never opened")
    return root


def small_case() -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((12, 10, 8), np.uint8)
    mask[2:8, 3:9, 1:7] = 6
    return np.where(mask, 110, -100).astype(np.int16), mask


def test_a_prepared_population_has_its_parts_and_no_label_where_there_is_none(prepared, phantoms):
    assert prepared.split == phantoms[2]
    for part, cases in prepared.split.parts().items():
        for case in cases:
            found = read_case(prepared.file(case))
            assert (found.label is None) == (part == "unlabeled")
            assert (found.source_label is None) == (part == "unlabeled")


def test_images_are_float32_in_zero_to_one_at_the_spacing_of_the_grid(prepared):
    for case in prepared.split.cases:
        found = read_case(prepared.file(case))
        assert found.image.dtype == np.float32
        assert 0 <= found.image.min() < found.image.max() <= 1
        spacing = np.linalg.norm(found.affine[:3, :3], axis=0)
        np.testing.assert_allclose(spacing, 7.0, atol=0.12)


def test_the_mask_of_the_scan_is_kept_as_it_was(prepared, phantoms):
    case = prepared.split.test[0]
    found = read_case(prepared.file(case))
    mask = read_labels(phantoms[0] / "labelsTs" / f"{case}.nii.gz")
    np.testing.assert_array_equal(found.source_label, mask.voxels)
    np.testing.assert_array_equal(found.source_affine, mask.affine)
    assert found.source_shape == mask.voxels.shape
    assert found.label.dtype == found.source_label.dtype == np.uint8


def test_organs_keep_their_place_in_the_patient(prepared):
    for case in prepared.split.with_labels:
        found = read_case(prepared.file(case))
        for label in (1, 2, 3, 6, 7):
            places = []
            grids = ((found.label, found.affine), (found.source_label, found.source_affine))
            for labels, affine in grids:
                index = np.argwhere(labels == label).mean(0)
                places.append(affine[:3, :3] @ index + affine[:3, 3])
            np.testing.assert_allclose(places[0], places[1], atol=1.5)


def test_the_liver_is_on_the_right_of_the_prepared_array(prepared):
    for case in prepared.split.with_labels:
        label = read_case(prepared.file(case)).label
        liver, spleen = (np.argwhere(label == value).mean(0) for value in (6, 1))
        assert liver[0] > spleen[0]


def test_a_label_on_the_grid_finds_back_to_the_scan(prepared):
    """A perfect prediction on the grid, put back, overlaps well with the mask of the scan."""
    case = read_case(prepared.file(prepared.split.test[0]))
    upright = canonical(Volume(case.source_label.astype(np.int32), case.source_affine))
    fine = resample_labels(Volume(case.label, case.affine), upright.voxels.shape)
    back = from_canonical(fine.voxels, case.source_affine, case.source_shape)
    for label in (1, 2, 3, 6, 7):
        one, other = back == label, case.source_label == label
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.8


def test_prepare_and_predict_see_the_same_grid(prepared, phantoms):
    case = prepared.split.unlabeled[0]
    scan = read_volume(phantoms[0] / "imagesTr" / f"{case}_0000.nii.gz")
    expected = to_grid(scan, prepared.spec).voxels
    stored = read_case(prepared.file(case)).image
    np.testing.assert_array_equal(in_sixteen_bits(expected), stored)
    window = np.ptp(prepared.spec.window_hu)
    assert np.abs(expected - stored).max() * window < 0.5 / 65535 * window + 1e-4 < 0.5  # HU
    ends = (expected == 0) | (expected == 1)
    np.testing.assert_array_equal(stored[ends], expected[ends])


def test_a_small_volume_takes_no_more_than_its_voxels(tmp_path):
    image = np.random.default_rng(0).random((33, 40, 50), np.float32)
    attributes = {
        "format_version": 1,
        "affine": np.eye(4),
        "source_affine": np.eye(4),
        "source_shape": image.shape,
    }
    for compress in (False, True):
        write_case(
            tmp_path / "a.h5", {"image": image}, attributes, sixteen_bits=True, compress=compress
        )
        np.testing.assert_array_equal(read_case(tmp_path / "a.h5").image, in_sixteen_bits(image))
        assert (tmp_path / "a.h5").stat().st_size < 1.25 * 2 * image.size
    with h5py.File(tmp_path / "a.h5", "a") as file:  # as version 1 stores it
        del file["image"]
        file["image"] = image
        file.attrs["format_version"] = 1
    np.testing.assert_array_equal(read_case(tmp_path / "a.h5").image, image)


def test_a_fixed_shape_is_met(prepared, phantoms):
    content = PHANTOM.model_dump() | {"grid": {"shape": (20, 18, 16)}}
    spec = DatasetSpec.check(content, Path("x.toml"))
    scan = read_volume(next((phantoms[0] / "imagesTr").iterdir()))
    assert to_grid(scan, spec).voxels.shape == (20, 18, 16)


def test_a_window_after_resampling_clips_interpolated_values(phantoms):
    scan = read_volume(next((phantoms[0] / "imagesTr").iterdir()))
    content = PHANTOM.model_dump() | {"grid": {"spacing_mm": (11.0, 11.0, 11.0)}}
    before = DatasetSpec.check(content, Path("x.toml"))
    after = DatasetSpec.check(content | {"windowed": "after"}, Path("x.toml"))
    in_hu = resample(canonical(scan), to_grid(scan, before).voxels.shape).voxels
    low, high = after.window_hu
    expected = in_sixteen_bits(np.clip((in_hu - low) / (high - low), 0, 1).astype(np.float32))
    np.testing.assert_allclose(to_grid(scan, after).voxels, expected, atol=2 / 65535)
    assert np.abs(to_grid(scan, before).voxels - expected).max() > 0.05
    assert before.digest != after.digest
    assert "windowed" not in before.deciding  # digests of earlier versions stay


def test_the_record_counts_the_voxels_of_every_class(prepared):
    for case in prepared.split.cases:
        record, found = prepared.cases[case], read_case(prepared.file(case))
        assert tuple(record["shape"]) == found.image.shape
        assert tuple(record["source_shape"]) == found.source_shape
        if found.label is None:
            assert record["voxels_per_class"] is None
        else:
            counts = [int((found.label == value).sum()) for value in range(14)]
            assert record["voxels_per_class"] == counts
            assert min(counts) > 0


def test_a_prepared_set_needs_nothing_but_its_folder(prepared):
    again = load_prepared(prepared.root)
    assert again.spec.digest == prepared.spec.digest
    assert again.split == prepared.split
    with pytest.raises(LookupError, match=r"no case 'x' in .*; there is phantom_0000"):
        again.file("x")


def test_case_files_are_plain_hdf5(prepared):
    with h5py.File(prepared.file(prepared.split.labeled[0])) as file:
        assert set(file) == {"image", "label", "source_label"}
        assert file["image"].compression is None
        assert file.attrs["spec_digest"] == prepared.spec.digest
        assert file.attrs["source_file"] == "phantom_0000_0000.nii.gz"


def test_two_processes_prepare_what_one_prepares(prepared, phantoms, tmp_path):
    root, spec, split = phantoms
    again = prepare(spec, root, tmp_path / "again", split, jobs=2)
    assert again.cases == prepared.cases
    for case in split.cases:
        np.testing.assert_array_equal(
            read_case(again.file(case)).image, read_case(prepared.file(case)).image
        )


def test_the_mask_of_an_unlabeled_case_is_never_opened(raw, spec, tmp_path):
    done = prepare(spec, raw, tmp_path / "out", SPLIT)
    assert read_case(done.file("b")).label is None


def test_finished_cases_are_kept_and_changed_ones_redone(raw, spec, tmp_path):
    out, told = tmp_path / "out", []
    prepare(spec, raw, out, SPLIT)
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.h5")}
    scan, _ = small_case()
    write_volume(raw / "imagesTr" / "b_0000.nii.gz", scan + 1, np.eye(4))
    prepare(spec, raw, out, SPLIT, progress=told.append)
    redone = {path.name for path in out.glob("*.h5") if path.stat().st_mtime_ns != times[path.name]}
    assert redone == {"b.h5"}
    assert sorted(told) == ["a", "b", "c"]
    prepare(spec, raw, out, SPLIT, force=True)
    assert all(path.stat().st_mtime_ns != times[path.name] for path in out.glob("*.h5"))


def test_a_case_that_becomes_unlabeled_loses_its_label(raw, spec, tmp_path):
    other = Split(labeled=("c",), unlabeled=("a",), validation=(), test=())
    assert read_case(prepare(spec, raw, tmp_path / "out", SPLIT).file("a")).label is not None
    assert read_case(prepare(spec, raw, tmp_path / "out", other).file("a")).label is None


def test_another_descriptor_does_not_overwrite(raw, spec, tmp_path):
    prepare(spec, raw, tmp_path / "out", SPLIT)
    with pytest.raises(ValueError, match="prepared by another descriptor"):
        prepare(PHANTOM, raw, tmp_path / "out", SPLIT)
    again = prepare(PHANTOM, raw, tmp_path / "out", SPLIT, force=True)
    assert again.spec.digest == PHANTOM.digest


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"grid": Grid(spacing_mm=(3, 2, 1.5))}, "grid 2 x 2 x 2 mm there, 3 x 2 x 1.5 mm"),
        ({"window_hu": (-150, 300)}, "window_hu -150 to 250 there, -150 to 300 now"),
        ({"protocol": "mine"}, "protocol phantom there, mine now"),
        ({"name": "a", "protocol": "b"}, "another descriptor: name phantom there, a now;"),
        ({"scaling": "volume"}, "scaling window there, volume now"),
        (
            {"organs": PHANTOM.organs[:-2]},
            "another descriptor: labels of duodenum, left adrenal gland;",
        ),
    ],
)
def test_what_differs_from_the_descriptor_of_a_folder_is_said(raw, spec, tmp_path, change, told):
    prepare(spec, raw, tmp_path / "out", SPLIT)
    with pytest.raises(ValueError, match="prepared by another descriptor") as fault:
        prepare(spec.model_copy(update=change), raw, tmp_path / "out", SPLIT)
    assert told in str(fault.value)
    assert str(fault.value).endswith("; give another folder, or --force")
    assert load_prepared(tmp_path / "out").spec.digest == spec.digest


def test_the_raw_folder_is_not_written_to(raw, spec):
    with pytest.raises(ValueError, match="give another folder for the prepared data"):
        prepare(spec, raw, raw, SPLIT)


def test_an_unknown_label_names_case_value_and_known_ones(raw, spec, tmp_path):
    write_labels(raw / "labelsTs" / "c.nii.gz", np.full((12, 10, 8), 77), np.eye(4))
    with pytest.raises(ValueError, match=r"case c: .*c\.nii\.gz holds label 77, .*6 liver"):
        prepare(spec, raw, tmp_path / "out", SPLIT)
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert not (tmp_path / "out" / "c.h5").exists()
    assert not list((tmp_path / "out").glob(".*"))
    with pytest.raises(FileNotFoundError, match=r"not \(or not fully\) prepared"):
        load_prepared(tmp_path / "out")


def test_an_image_and_a_mask_of_different_shape_are_refused(raw, spec, tmp_path):
    write_labels(raw / "labelsTr" / "a.nii.gz", np.zeros((12, 10, 9)), np.eye(4))
    with pytest.raises(ValueError, match=r"case a: .*\(12, 10, 8\), its mask .*\(12, 10, 9\)"):
        prepare(spec, raw, tmp_path / "out", SPLIT)


def test_an_image_and_a_mask_at_different_places_are_refused(raw, spec, tmp_path):
    _, mask = small_case()
    write_labels(raw / "labelsTr" / "a.nii.gz", mask, np.diag([-1.0, 1, 1, 1]))
    with pytest.raises(ValueError, match=r"case a: the affines of .* differ by up to 11 mm"):
        prepare(spec, raw, tmp_path / "out", SPLIT)


def test_a_truncated_scan_is_refused_and_the_rest_can_go_on(raw, spec, tmp_path):
    path = raw / "imagesTs" / "c_0000.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"c_0000\.nii\.gz: damaged"):
        prepare(spec, raw, tmp_path / "out", SPLIT)
    path.write_bytes(whole)
    assert prepare(spec, raw, tmp_path / "out", SPLIT).split == SPLIT


def test_a_case_of_the_split_without_scan_or_mask_is_named(raw, spec, tmp_path):
    more = Split(labeled=("a",), unlabeled=("b", "x", "y"), validation=(), test=())
    with pytest.raises(FileNotFoundError, match="no scan for x, y"):
        prepare(spec, raw, tmp_path / "out", more)
    (raw / "labelsTs" / "c.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match="no mask for c; labeled, validation and test"):
        prepare(spec, raw, tmp_path / "out", SPLIT)
    assert not (tmp_path / "out").exists()


def test_a_prepared_case_that_is_gone_or_damaged_is_named(raw, spec, tmp_path):
    done = prepare(spec, raw, tmp_path / "out", SPLIT)
    done.file("a").write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match=r"a\.h5: damaged or no HDF5"):
        read_case(done.file("a"))
    done.file("b").unlink()
    with pytest.raises(FileNotFoundError, match="case files are gone: b; prepare again"):
        load_prepared(tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"b\.h5: no such prepared case"):
        read_case(done.root / "b.h5")
    assert prepare(spec, raw, tmp_path / "out", SPLIT).file("a").is_file()
    assert read_case(done.file("a")).label is not None


def test_another_format_version_asks_to_prepare_again(raw, spec, tmp_path):
    done = prepare(spec, raw, tmp_path / "out", SPLIT)
    with h5py.File(done.file("a"), "a") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(ValueError, match=r"format version 99 where .* prepare again"):
        read_case(done.file("a"))
    noted = tmp_path / "out" / "dataset.json"
    noted.write_text(json.dumps(json.loads(noted.read_text()) | {"format_version": 99}))
    with pytest.raises(ValueError, match="format version 99"):
        load_prepared(tmp_path / "out")


@pytest.mark.parametrize("text", ['{"labels": {}}', "[]", "{"])
@pytest.mark.parametrize("force", [False, True])
def test_a_dataset_json_of_another_program_is_never_removed(raw, spec, tmp_path, text, force):
    noted = tmp_path / "out" / "dataset.json"
    noted.parent.mkdir()
    noted.write_text(text)
    with pytest.raises(
        ValueError, match=r"dataset\.json: not written by `tak prepare`, whose output"
    ):
        prepare(spec, raw, noted.parent, SPLIT, force=force)
    assert noted.read_text() == text
