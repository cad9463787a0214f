from pathlib import Path

import h5py
import numpy as np
import pytest
from nibabel import aff2axcodes

from segmentation.data.descriptor import DatasetSpec, Grid, Split
from segmentation.data.orientation import orientation_by_organs
from segmentation.data.preparation import load_prepared, prepare, read_case, to_grid
from segmentation.data.protocol import Protocol, claim_of
from segmentation.data.shared_arrays import layouts_in, open_arrays
from segmentation.imaging.affines import EVERY, affine_of, checked_orientation
from segmentation.imaging.volume import Volume, canonical
from segmentation.phantom.population import Population, make_population
from tests.support.paths import DATA
from tests.support.shared_export import ORIENTATION, export, pairs, store, turned

PHANTOM = DatasetSpec.read(DATA / "phantom.toml")
BOTH = ("npy-ga", "npy-dhc")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("raw") / "phantoms"
    make_population(PHANTOM, root, Population(1, 1, 1, 1, spacing_mm=9))
    return root


@pytest.fixture
def shared(phantoms, tmp_path):
    """Exports the phantoms in a layout."""

    def make(layout: str, codes: str | None = None) -> Path:
        export(phantoms, tmp_path / layout, layout, codes=codes)
        return tmp_path / layout

    return make


def prepared(folder: Path, out: Path, layouts=None, spec=None, **told):
    spec = spec or DatasetSpec.read(folder / "dataset.toml")
    split = Split.read(folder / "splits")
    names = layouts or layouts_in(folder)
    spec, reader = open_arrays(spec, folder, split.with_labels, names, **told)
    return prepare(spec, folder, out, split, reader=reader)


@pytest.mark.parametrize("layout", ORIENTATION)
def test_arrays_are_taken_as_they_are_and_end_in_ras(layout, shared, phantoms, tmp_path):
    done = prepared(shared(layout), tmp_path / "out")
    assert f"arrays of {layout} as they are: axes {ORIENTATION[layout]} by their organs" in (
        load_prepared(done.root).note
    )
    for case, (hu, labels) in pairs(phantoms).items():
        found = read_case(done.file(case))
        expected = np.clip((hu + 150) / 400, 0, 1)  # the phantom's window
        if layout == "h5-magicnet":
            expected = (hu - hu.mean()) / hu.std()
        np.testing.assert_allclose(found.image, expected, atol=0.51 / 65535)  # 16 bits
        np.testing.assert_allclose(found.affine, np.diag([7, 7, 7, 1]))
        assert "".join(aff2axcodes(found.source_affine)) == ORIENTATION[layout]
        if case in done.split.with_labels:
            np.testing.assert_array_equal(found.label, labels)
            stored = turned(labels, ORIENTATION[layout])
            np.testing.assert_array_equal(found.source_label, stored)
        else:
            assert found.label is None


def test_the_descriptor_says_whose_arrays_they_are(shared, tmp_path):
    folder = shared("npy-ga")
    own = DatasetSpec.read(folder / "dataset.toml")
    assert prepared(folder, tmp_path / "a").spec.protocol == "phantom, arrays of npy-ga"
    theirs = own.model_copy(update={"shared": "npy-ga"})
    assert prepared(folder, tmp_path / "b", spec=theirs).spec.protocol == "phantom"
    third = prepared(folder, tmp_path / "c", spacing_mm=(3.0, 4.0, 5.0))
    assert third.spec.grid == Grid(spacing_mm=(3.0, 4.0, 5.0))
    case = third.split.test[0]
    assert read_case(third.file(case)).affine.diagonal().tolist() == [3, 4, 5, 1]
    assert "spacing 3 x 4 x 5 mm assumed" in (third.note or "")


@pytest.mark.parametrize(
    ("name", "layout", "codes", "split"),
    [
        ("amos", "npy-ga", "LPS", "5p"),
        ("amos-dhc", "npy-dhc", "SPL", "5p"),
        ("synapse", "h5-magicnet", "RAS", "20p"),
        ("synapse-dhc", "npy-dhc", "SPL", "20p"),
    ],
)
def test_the_arrays_of_the_published_protocols_carry_their_names(
    tmp_path, name, layout, codes, split
):
    spec = DatasetSpec.read(DATA / f"{name}.toml")
    protocol = Protocol.read(DATA / "protocols" / f"{spec.protocol}.toml")
    store(tmp_path, "0001", layout, np.zeros((4, 5, 6)), np.zeros((4, 5, 6)))
    own, _ = open_arrays(spec, tmp_path, (), [layout], orientation=codes)
    assert claim_of(own, spec.split(split), protocol).protocol == protocol.name
    assert own.digest == spec.digest or own.scaling == "stored"
    foreign = spec.model_copy(update={"shared": None})
    own, _ = open_arrays(foreign, tmp_path, (), [layout], orientation=codes)
    assert own.protocol == f"{protocol.name}, arrays of {layout}"


def test_intensities_of_an_unpublished_recipe_are_left_and_no_scan_is_brought_to_them(
    shared, tmp_path
):
    done = prepared(shared("h5-magicnet"), tmp_path / "out")
    assert load_prepared(done.root).spec.scaling == "stored"
    assert read_case(done.file(done.split.test[0])).image.min() < 0
    with pytest.raises(ValueError, match=r"scaled by a recipe that was never published"):
        to_grid(Volume(np.zeros((4, 4, 4), np.float32), np.eye(4)), done.spec)


def test_the_mask_of_an_unlabeled_case_is_never_opened(shared, tmp_path):
    folder = shared("npy-dhc")
    case = Split.read(folder / "splits").unlabeled[0]
    (folder / f"{case}_label.npy").write_text("never opened")
    assert read_case(prepared(folder, tmp_path / "out").file(case)).label is None


def test_a_fixed_shape_has_to_be_that_of_the_arrays(shared, phantoms, tmp_path):
    folder = shared("npy-dhc")
    split = Split.read(folder / "splits")
    shape = pairs(phantoms)[split.test[0]][0].shape
    spec = PHANTOM.model_copy(update={"grid": Grid(shape=shape)})
    only = Split(labeled=split.test, unlabeled=(), validation=(), test=())
    spec, reader = open_arrays(spec, folder, only.labeled, BOTH)
    done = prepare(spec, folder, tmp_path / "out", only, reader=reader)
    assert "spacing unknown, so that distances count voxels" in (done.note or "")
    np.testing.assert_array_equal(read_case(done.file(only.labeled[0])).affine, np.eye(4))
    wrong = PHANTOM.model_copy(update={"grid": Grid(shape=(16, 16, 8))})
    wrong, reader = open_arrays(wrong, folder, only.labeled, BOTH)
    with pytest.raises(
        ValueError, match=r"voxels \[x, y, z\] where the protocol has \(16, 16, 8\)"
    ):
        prepare(wrong, folder, tmp_path / "x", only, reader=reader)


@pytest.mark.parametrize("codes", EVERY)
def test_organs_tell_every_orientation(codes, phantoms):
    for _, labels in pairs(phantoms).values():
        if labels is not None:
            assert orientation_by_organs(turned(labels, codes).astype(int), PHANTOM) == codes


@pytest.mark.parametrize("codes", EVERY)
def test_an_affine_of_an_orientation_is_what_nibabel_reads_from_it(codes):
    affine = affine_of(codes, (4, 5, 6), (1.0, 2.0, 3.0))
    assert "".join(aff2axcodes(affine)) == codes
    upright = canonical(Volume(np.zeros((4, 5, 6)), affine))
    np.testing.assert_allclose(upright.affine[:3, 3], 0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), (1, 2, 3))


def test_too_few_organs_or_a_flat_mask_tell_nothing():
    labels = np.zeros((20, 20, 20), int)
    labels[2:5, 3:6, 4:7], labels[12:15, 3:6, 4:7] = 1, 6
    assert orientation_by_organs(labels, PHANTOM) is None
    flat = np.zeros((20, 20, 1), int)
    flat[:13, 0, 0] = range(1, 14)
    assert orientation_by_organs(flat, PHANTOM) is None
    with pytest.raises(ValueError, match="orientation 'rax': three letters are needed"):
        checked_orientation("rax")


def test_masks_that_disagree_want_to_be_told(shared, tmp_path):
    folder = shared("npy-ga")
    split = Split.read(folder / "splits")
    for kind in ("image", "label"):
        path = folder / f"{split.test[0]}_{kind}.npy"
        np.save(path, np.load(path)[::-1])
    with pytest.raises(ValueError, match=r"LPS in 2 .*RPS in 1 .*give --orientation"):
        prepared(folder, tmp_path / "out")
    done = prepared(folder, tmp_path / "out", orientation="LPS")
    assert "axes LPS as given, though the organs of 1 masks indicate others" in (done.note or "")
    with pytest.raises(ValueError, match="axes LSP run along x, z, y, which is not the order of"):
        prepared(folder, tmp_path / "out", orientation="LSP")
    with pytest.raises(ValueError, match=r"axes LPS .* is not the order of npy-dhc: npy-ga has x"):
        prepared(folder, tmp_path / "out", layouts=["npy-dhc"], orientation="LPS")


def test_bad_arrays_are_named(shared, tmp_path):
    folder = shared("npy-ga")
    case = Split.read(folder / "splits").labeled[0]
    image, label = folder / f"{case}_image.npy", folder / f"{case}_label.npy"
    good, labels = np.load(image), np.load(label)
    for path, array, told in [
        (label, labels + 0.5, rf"{case}_label\.npy: 0\.5 is no label value"),
        (
            label,
            labels * 5,
            r"holds label .*which phantom does not have; its labels are 0 background",
        ),
        (label, labels[1:], r"has shape .* its mask .* has"),
        (image, np.where(good == good.max(), np.nan, good), r"voxels are not a finite number"),
        (image, good[None, None], r"shape \(1, 1, .*one three-dimensional scan is needed"),
        (image, good.astype(str), r"holds <U\d+, not numbers"),
        (image, np.array([{}]), r"damaged or no \.npy array"),
    ]:
        np.save(path, array)
        with pytest.raises(ValueError, match=told):
            prepared(folder, tmp_path / "out", orientation="LPS")
        np.save(image, good)
        np.save(label, labels)
    assert prepared(folder, tmp_path / "out").split.labeled == (case,)


def test_h5_files_without_a_mask_or_of_tak_itself_are_told_apart(shared, tmp_path):
    folder = shared("h5-magicnet")
    case = Split.read(folder / "splits").labeled[0]
    done = prepared(folder, tmp_path / "out")
    with pytest.raises(ValueError, match="out: prepared already; train on it"):
        layouts_in(done.root)
    with h5py.File(folder / f"{case}.h5", "a") as file:
        del file["label"]
    with pytest.raises(ValueError, match=rf"{case}\.h5: no data set 'label'; there is image"):
        prepared(folder, tmp_path / "again", layouts=["h5-magicnet"])
    with h5py.File(folder / f"{case}.h5", "a") as file:
        file.create_group("label")
    with pytest.raises(ValueError, match=rf"{case}\.h5: no data set 'label'"):
        prepared(folder, tmp_path / "again", layouts=["h5-magicnet"])
    with h5py.File(folder / f"{case}.h5", "a") as file:
        del file["label"]
        file["label"] = 3
    with pytest.raises(ValueError, match=r"one three-dimensional scan is needed"):
        prepared(folder, tmp_path / "again", layouts=["h5-magicnet"])
    (folder / f"{case}.h5").write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match="damaged or no HDF5 file"):
        prepared(folder, tmp_path / "again", layouts=["h5-magicnet"])
    assert layouts_in(tmp_path) == ()
