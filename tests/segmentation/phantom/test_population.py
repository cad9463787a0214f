import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from segmentation.data.descriptor import DatasetSpec
from segmentation.imaging.volume import Volume, canonical, read_labels, read_volume
from segmentation.phantom.population import Population, descriptor, make_population
from segmentation.phantom.scanner import scan_subject
from segmentation.phantom.subject import Scanner, plain_subject
from tests.support.paths import DATA

SPEC = DatasetSpec.read(DATA / "phantom.toml")
AMOS = DatasetSpec.read(DATA / "amos.toml")
ORGANS = SPEC.classes[1:]
SUBJECTS = range(12)
X, Y, Z = range(3)

# (organ, axis, direction, organ): the first lies that way of the second.
RELATIONS = [
    ("liver", X, +1, "spleen"),
    ("liver", X, +1, "stomach"),
    ("right kidney", X, +1, "aorta"),
    ("left kidney", X, -1, "aorta"),
    ("inferior vena cava", X, +1, "aorta"),
    ("duodenum", X, +1, "stomach"),
    ("duodenum", Z, -1, "stomach"),
    ("gallbladder", Z, -1, "liver"),
    ("gallbladder", Y, +1, "right kidney"),
    ("pancreas", Y, +1, "aorta"),
    ("pancreas", Z, -1, "stomach"),
    ("stomach", Y, +1, "spleen"),
    ("spleen", Z, +1, "left kidney"),
    ("esophagus", Z, +1, "stomach"),
    ("esophagus", Y, +1, "aorta"),
    ("right adrenal gland", Z, +1, "right kidney"),
    ("left adrenal gland", Z, +1, "left kidney"),
    ("right adrenal gland", X, -1, "right kidney"),
    ("left adrenal gland", X, +1, "left kidney"),
]


def plain_scan(names, random, **grid):
    return scan_subject(names, plain_subject(names, random), Scanner(), random, **grid)


@pytest.fixture(scope="module")
def scans() -> list:
    return [
        plain_scan(ORGANS, np.random.default_rng([7, index]), spacing_mm=5.5) for index in SUBJECTS
    ]


def centers(scan) -> dict[str, np.ndarray]:
    found = {}
    for label, name in enumerate(ORGANS, start=1):
        middle = np.argwhere(scan.labels == label).mean(0)
        found[name] = scan.affine[:3, :3] @ middle + scan.affine[:3, 3]
    return found


@pytest.mark.parametrize(("one", "axis", "direction", "other"), RELATIONS)
def test_organs_lie_as_in_a_patient(scans, one, axis, direction, other):
    for scan in scans:
        found = centers(scan)
        assert direction * (found[one][axis] - found[other][axis]) > 0


def test_the_right_kidney_mostly_lies_lower(scans):
    found = [centers(scan) for scan in scans]
    lower = [place["right kidney"][Z] < place["left kidney"][Z] for place in found]
    assert np.mean(lower) > 0.6


def test_the_pancreas_crosses_the_midline_of_the_vessels(scans):
    label = SPEC.labels["pancreas"]
    for scan in scans:
        place = scan.affine[:3, :3] @ np.argwhere(scan.labels == label).T + scan.affine[:3, 3:]
        found = centers(scan)
        assert place[X].min() < found["aorta"][X]
        assert place[X].max() > found["inferior vena cava"][X]


def test_the_duodenum_is_a_c_that_holds_the_head_of_the_pancreas(scans):
    for scan in scans:
        place = {}
        for name in ("duodenum", "pancreas"):
            index = np.argwhere(scan.labels == SPEC.labels[name]).T
            place[name] = scan.affine[:3, :3] @ index + scan.affine[:3, 3:]
        head = place["pancreas"][:, place["pancreas"][X] > np.quantile(place["pancreas"][X], 0.8)]
        assert place["duodenum"][X].max() > head[X].max()
        assert place["duodenum"][Z].min() < head[Z].mean()
        assert place["duodenum"][X].min() < head[X].mean() - 20


def test_every_organ_is_there_in_one_piece(scans):
    for scan in scans:
        for label in SPEC.labels.values():
            pieces, _ = ndimage.label(scan.labels == label, np.ones((3, 3, 3)))
            sizes = np.bincount(pieces.ravel())[1:]
            assert sizes.max() >= 0.9 * sizes.sum()


def test_organs_are_as_large_as_in_a_patient(scans):
    """Milliliters that textbooks give for adults, with a generous margin."""
    ranges = {
        "liver": (800, 2200), "spleen": (80, 350), "stomach": (150, 600),
        "right kidney": (70, 250), "left kidney": (70, 250), "gallbladder": (8, 60),
        "pancreas": (30, 130), "aorta": (30, 140), "right adrenal gland": (1.5, 10),
        "left adrenal gland": (1.5, 10), "duodenum": (35, 130),
    }  # fmt: skip
    for scan in scans:
        milliliters = np.abs(np.linalg.det(scan.affine[:3, :3])) / 1000
        for name, (low, high) in ranges.items():
            assert low < (scan.labels == SPEC.labels[name]).sum() * milliliters < high, name


def test_scans_have_the_intensities_of_ct(scans):
    for scan in scans:
        values = {
            name: scan.voxels[ndimage.binary_erosion(scan.labels == label)]
            for name, label in SPEC.labels.items()
        }
        assert 85 < values["liver"].mean() < 135
        assert abs(np.median(values["liver"]) - np.median(values["spleen"])) < 40
        assert np.median(values["right kidney"]) == pytest.approx(
            np.median(values["left kidney"]), abs=25
        )
        assert 5 < values["liver"].std() < 40
        assert np.quantile(scan.voxels, 0.02) < -900
        assert scan.voxels.max() > 300


def test_borders_are_shared_between_tissues(scans):
    """Partial volume: between air and skin there are voxels that are neither."""
    for scan in scans:
        between = (scan.voxels > -850) & (scan.voxels < -250)
        assert 0.01 < between.mean() < 0.3


def test_scanners_differ_in_orientation_spacing_and_tilt(scans):
    codes = {nibabel.aff2axcodes(scan.affine) for scan in scans}
    assert len(codes) > 6
    spacings = np.array([np.linalg.norm(scan.affine[:3, :3], axis=0) for scan in scans])
    assert np.all(np.ptp(spacings, axis=0) > 0.5)
    tilted = [np.count_nonzero(np.abs(scan.affine[:3, :3]) > 1e-6) > 3 for scan in scans]
    assert 0 < sum(tilted) < len(scans)


def test_no_two_subjects_are_alike(scans):
    upright = [canonical(Volume(scan.labels, scan.affine)) for scan in scans[:4]]
    volumes = [(mask.voxels == 6).sum() * np.prod(mask.spacing_mm) for mask in upright]
    assert np.ptp(volumes) > 0.03 * np.mean(volumes)


def test_a_subject_is_decided_by_its_generator():
    first, again = (
        plain_scan(ORGANS, np.random.default_rng([3, 5]), spacing_mm=7) for _ in range(2)
    )
    np.testing.assert_array_equal(first.voxels, again.voxels)
    np.testing.assert_array_equal(first.labels, again.labels)
    np.testing.assert_array_equal(first.affine, again.affine)


def test_the_pelvis_is_scanned_where_its_organs_are_wanted():
    random = np.random.default_rng(0)
    scan = plain_scan(AMOS.classes[1:], random, shape=(64, 52, 60))
    assert sorted(scan.labels.shape) == [52, 60, 64]
    assert set(np.unique(scan.labels)) == set(range(16))
    bladder, liver = (
        (scan.affine[:3, :3] @ np.argwhere(scan.labels == label).mean(0) + scan.affine[:3, 3])
        for label in (14, 6)
    )
    assert liver[Z] - bladder[Z] > 200


def test_voxels_too_large_for_an_organ_are_refused():
    with pytest.raises(ValueError, match=r"voxels of .* mm are too large for"):
        plain_scan(ORGANS, np.random.default_rng(0), spacing_mm=40)


@pytest.fixture(scope="module")
def population(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("population") / "phantoms"
    make_population(SPEC, out, Population(2, 2, 1, 1, spacing_mm=9, seed=4))
    return out


def test_a_population_lies_as_nnunet_wants_it(population):
    names = sorted(path.name for path in population.glob("images*/*"))
    assert names == [f"phantom_{index:04d}_0000.nii.gz" for index in range(6)]
    content = json.loads((population / "dataset.json").read_text())
    assert content["labels"] == {"background": 0} | SPEC.labels
    assert content["file_ending"] == ".nii.gz"


def test_an_unlabeled_case_has_no_label_file(population):
    names = sorted(path.name for path in population.glob("labels*/*"))
    assert names == [f"phantom_{index:04d}.nii.gz" for index in (0, 1, 4, 5)]
    split = DatasetSpec.read(population / "dataset.toml").split(root=population)
    assert split.unlabeled == ("phantom_0002", "phantom_0003")
    assert split.test == ("phantom_0005",)


def test_the_descriptor_of_a_population_describes_it(population):
    spec = DatasetSpec.read(population / "dataset.toml")
    assert spec.digest == SPEC.digest
    assert (spec.by_label, spec.grid, spec.splits) == (SPEC.by_label, SPEC.grid, "data")


def test_a_descriptor_survives_quotes_and_umlauts(tmp_path):
    organ = AMOS.organs[0].model_copy(update={"aliases": ('the "spleen"', "Milz (größer)")})
    (tmp_path / "own.toml").write_text(
        descriptor(AMOS.model_copy(update={"organs": (organ, *AMOS.organs[1:])})), encoding="utf-8"
    )
    spec = DatasetSpec.read(tmp_path / "own.toml")
    assert spec.organs[0] == organ
    assert (spec.name, spec.protocol, spec.layout) == ("phantom", "phantom", "nnunet")


def test_two_processes_make_what_one_makes(population, tmp_path):
    population_again = Population(2, 2, 1, 1, spacing_mm=9, seed=4)
    assert make_population(SPEC, tmp_path / "again", population_again, jobs=2) == 6
    for path in population.rglob("*.*"):
        again = tmp_path / "again" / path.relative_to(population)
        assert again.read_bytes() == path.read_bytes()


def test_a_second_call_makes_only_what_is_missing(population):
    wanted = Population(2, 2, 1, 1, spacing_mm=9, seed=4)
    assert make_population(SPEC, population, wanted) == 0
    lost = population / "labelsTr" / "phantom_0001.nii.gz"
    before = lost.read_bytes()
    lost.unlink()
    told: list[str] = []
    assert make_population(SPEC, population, wanted, progress=told.append) == 1
    assert lost.read_bytes() == before
    assert sorted(told) == [f"phantom_{index:04d}" for index in range(6)]


def test_another_population_is_not_mixed_in(population, tmp_path):
    with pytest.raises(ValueError, match="holds another population"):
        make_population(SPEC, population, Population(2, 2, 1, 1, spacing_mm=9, seed=5))
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ValueError, match="is not empty and holds no population"):
        make_population(SPEC, tmp_path, Population(1, 0, 0, 0, spacing_mm=9))


def test_a_population_that_cannot_begin_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="too large for"):
        make_population(SPEC, tmp_path / "out", Population(1, 0, 0, 0, spacing_mm=40))
    assert not (tmp_path / "out").exists()


def test_an_organ_without_a_shape_is_answered_with_those_that_have_one(tmp_path):
    synapse = DatasetSpec.read(DATA / "synapse.toml")
    with pytest.raises(LookupError, match="no shape for 'portal and splenic vein'; there is liver"):
        make_population(synapse, tmp_path / "out", Population(1, 0, 0, 0, spacing_mm=9))
    assert not (tmp_path / "out").exists()


def test_an_organ_is_drawn_by_its_alias_too(tmp_path):
    organ = AMOS.organ("liver").model_copy(
        update={"name": "Leber", "label": 1, "aliases": ("Liver",)}
    )
    make_population(
        AMOS.model_copy(update={"organs": (organ,)}),
        tmp_path / "out",
        Population(1, 0, 0, 0, spacing_mm=9),
    )
    mask = read_labels(tmp_path / "out" / "labelsTr" / "phantom_0000.nii.gz")
    scan = read_volume(tmp_path / "out" / "imagesTr" / "phantom_0000_0000.nii.gz")
    assert set(np.unique(mask.voxels)) == {0, 1}
    np.testing.assert_allclose(mask.affine, scan.affine)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"labeled": 0}, "labeled must be at least 1, not 0"),
        ({"test": -1}, "test must be at least 0, not -1"),
        ({"spacing_mm": None}, "exactly one of spacing and shape"),
        ({"shape": (8, 8, 8)}, "exactly one of spacing and shape"),
        ({"spacing_mm": 0.0}, "positive size, not 0"),
    ],
)
def test_a_population_makes_sense(wrong, told):
    right = {"labeled": 1, "unlabeled": 0, "validation": 0, "test": 0, "spacing_mm": 9.0}
    with pytest.raises(ValueError, match=told):
        Population(**{**right, **wrong})


def test_a_scan_by_slabs_is_that_of_one_slab(monkeypatch):
    names = ("liver", "spleen", "pancreas", "right kidney")
    scans = []
    for voxels in (2**30, 3000):
        monkeypatch.setattr("segmentation.phantom.scanner._SLAB_VOXELS", voxels)
        scans.append(plain_scan(names, np.random.default_rng(3), spacing_mm=7.0))
    np.testing.assert_array_equal(scans[0].voxels, scans[1].voxels)
    np.testing.assert_array_equal(scans[0].labels, scans[1].labels)
