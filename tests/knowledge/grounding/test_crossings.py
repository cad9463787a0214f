"""Crossing, surrounding and containing: on shapes, on phantoms, and on labels of a real scan."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from knowledge.descriptions import Claim
from knowledge.grounding.scene import Scene
from segmentation.data.descriptor import DatasetSpec
from segmentation.imaging.volume import read_labels
from segmentation.phantom.population import Population, make_population
from tests.support.paths import ROOT

GRID = np.stack(np.meshgrid(*[np.arange(60)] * 3, indexing="ij"), axis=-1)
VALUES = {"a": 1, "b": 2}


def tube(*knots: tuple[float, float, float], radius: float) -> np.ndarray:
    """A tube [60, 60, 60] through points."""
    mask = np.zeros(GRID.shape[:3], bool)
    for one, other in itertools.pairwise(np.array(knots, float)):
        for step in np.linspace(0, 1, 40):
            center = one + step * (other - one)
            mask |= np.linalg.norm(GRID - center, axis=-1) <= radius
    return mask


def verdicts(a: np.ndarray, b: np.ndarray, relation: str) -> tuple[str, str]:
    """The claim, and the claim with the organs exchanged, at 2 mm."""
    labels = np.zeros(a.shape, np.uint8)
    labels[b] = 2
    labels[a] = 1
    scene = Scene(labels, np.diag([2.0, 2, 2, 1]), VALUES)
    pairs = (("a", "b"), ("b", "a"))
    one, other = (
        scene.test(Claim.model_validate({"organ": x, "relation": relation, "other": y})).verdict
        for x, y in pairs
    )
    return one, other


AORTA = tube((30, 25, 0), (30, 25, 59), radius=5)


def test_the_left_renal_vein_crosses_the_aorta_and_not_the_other_way_round() -> None:
    vein = tube((2, 22, 28), (20, 30, 30), (30, 33, 31), (42, 31, 32), radius=2)
    assert verdicts(vein, AORTA, "crosses") == ("supported", "untestable")


def test_two_oblique_vessels_cross_each_other() -> None:
    other = tube((10, 33, 10), (50, 33, 50), radius=3)
    oblique = tube((50, 25, 10), (10, 25, 50), radius=3)
    assert verdicts(other, oblique, "crosses") == ("supported", "supported")


def test_a_vein_that_ends_at_a_vessel_does_not_cross_it() -> None:
    vein = tube((2, 25, 30), (25, 25, 30), radius=2)
    assert verdicts(vein, AORTA, "crosses") == ("contradicted", "contradicted")


def test_vessels_that_run_side_by_side_do_not_cross() -> None:
    cava = tube((42, 25, 0), (42, 25, 59), radius=5)
    assert verdicts(cava, AORTA, "crosses") == ("contradicted", "contradicted")


def test_a_far_or_broad_organ_before_a_vessel_is_not_said_to_cross_it() -> None:
    far = tube((5, 52, 30), (55, 52, 30), radius=3)
    assert verdicts(far, AORTA, "crosses")[0] == "untestable"
    broad = np.zeros(GRID.shape[:3], bool)
    broad[4:56, 31:40, 12:48] = True
    assert verdicts(broad, AORTA, "crosses")[0] == "untestable"


def test_a_bulk_over_an_organ_neither_crosses_nor_surrounds_nor_holds_it() -> None:
    bulk = np.linalg.norm((GRID - (34, 30, 42)) / (22, 24, 16), axis=-1) <= 1
    kidney = np.linalg.norm((GRID - (34, 22, 20)) / (9, 8, 14), axis=-1) <= 1
    assert verdicts(bulk & ~kidney, kidney, "crosses") == ("contradicted", "contradicted")
    assert verdicts(bulk & ~kidney, kidney, "surrounds")[0] != "supported"
    assert verdicts(kidney, bulk & ~kidney, "inside")[0] == "contradicted"


def test_a_loop_surrounds_the_head_of_a_long_organ() -> None:
    loop = tube((20, 30, 44), (38, 30, 42), (42, 30, 30), (38, 30, 16), (18, 30, 14), radius=3)
    head = tube((30, 30, 30), (2, 30, 36), radius=5)
    assert verdicts(loop, head, "surrounds") == ("supported", "contradicted")


def test_a_lesion_is_inside_an_organ_and_a_ball_in_its_fossa_is_not() -> None:
    organ = np.linalg.norm((GRID - (30, 30, 34)) / (24, 24, 18), axis=-1) <= 1
    lesion = np.linalg.norm(GRID - (32, 30, 36), axis=-1) <= 4
    fossa = np.linalg.norm(GRID - (30, 30, 18), axis=-1) <= 6
    assert verdicts(lesion, organ & ~lesion, "inside") == ("supported", "contradicted")
    assert verdicts(fossa, organ & ~fossa, "inside") == ("contradicted", "contradicted")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    spec = DatasetSpec.read(ROOT / "data" / "amos.toml")
    folder = tmp_path_factory.mktemp("phantoms")
    population = Population(labeled=3, unlabeled=0, validation=0, test=0, spacing_mm=4.0)
    make_population(spec, folder, population)
    volumes = [read_labels(path) for path in sorted((folder / "labelsTr").iterdir())]
    return [Scene(volume.voxels, volume.affine, spec.labels) for volume in volumes]


FALSE = (
    ("liver", "surrounds", "right kidney"),
    ("liver", "crosses", "right kidney"),
    ("aorta", "crosses", "pancreas"),
    ("pancreas", "crosses", "aorta"),
    ("gallbladder", "inside", "liver"),
)


@pytest.mark.parametrize(("one", "relation", "other"), FALSE)
def test_what_anatomy_denies_is_not_supported(
    phantoms: list[Scene], one: str, relation: str, other: str
) -> None:
    claim = Claim.model_validate({"organ": one, "relation": relation, "other": other})
    assert all(scene.test(claim).verdict != "supported" for scene in phantoms)


@pytest.mark.parametrize(
    ("one", "relation", "other"),
    [
        ("duodenum", "surrounds", "pancreas"),
        ("duodenum", "crosses", "inferior vena cava"),
        ("duodenum", "crosses", "aorta"),
    ],
)
def test_what_anatomy_says_is_supported(
    phantoms: list[Scene], one: str, relation: str, other: str
) -> None:
    claim = Claim.model_validate({"organ": one, "relation": relation, "other": other})
    assert [scene.test(claim).verdict for scene in phantoms] == ["supported"] * len(phantoms)


def test_hardly_a_pair_of_organs_crosses(phantoms: list[Scene]) -> None:
    for scene in phantoms:
        pairs = list(itertools.permutations(scene.organs, 2))
        crossing = [
            (one, other)
            for one, other in pairs
            if scene.test(Claim(organ=one, relation="crosses", other=other)).verdict == "supported"
        ]
        assert len(pairs) == 210
        assert len(crossing) <= 8, crossing


# A folder with `ct_slab_labels.nii.gz`: labels of a real scan in TotalSegmentator's numbers.
REAL = os.environ.get("TAK_REAL_SCANS")
REAL_VALUES = {
    "right kidney": 2,
    "gallbladder": 4,
    "liver": 5,
    "pancreas": 7,
    "aorta": 52,
}


@pytest.mark.skipif(REAL is None, reason="TAK_REAL_SCANS names no folder of real scans")
@pytest.mark.parametrize(("one", "relation", "other"), FALSE)
def test_what_anatomy_denies_is_not_supported_on_a_real_scan(
    one: str, relation: str, other: str
) -> None:
    volume = read_labels(Path(str(REAL)) / "ct_slab_labels.nii.gz")
    scene = Scene(volume.voxels, volume.affine, REAL_VALUES)
    claim = Claim.model_validate({"organ": one, "relation": relation, "other": other})
    assert scene.test(claim).verdict != "supported"
