from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segmentation.data.array_difference import best_orientation, difference
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.preparation import prepare, read_case
from segmentation.imaging.affines import EVERY
from segmentation.phantom.population import Population, make_population
from tests.support.paths import DATA
from tests.support.shared_export import pairs, turned

PHANTOM = DatasetSpec.read(DATA / "phantom.toml")
LOW, HIGH = PHANTOM.window_hu


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("raw") / "phantoms"
    make_population(PHANTOM, root, Population(1, 0, 0, 0, spacing_mm=7))
    return root


@pytest.fixture(scope="module")
def ours(phantoms, tmp_path_factory):
    spec = DatasetSpec.read(phantoms / "dataset.toml")
    done = prepare(spec, phantoms, tmp_path_factory.mktemp("done"), spec.split(root=phantoms))
    return read_case(done.file(done.split.labeled[0]))


@pytest.fixture(scope="module")
def theirs(phantoms) -> tuple[np.ndarray, np.ndarray]:
    (found,) = pairs(phantoms).values()
    image, labels = found
    assert labels is not None
    return image, labels.astype(np.int32)


def test_the_same_array_differs_in_nothing(ours):
    found = difference("a", ours, ours.image, ours.label.astype(int), PHANTOM, in_hu=False)
    assert (found.orientation, found.histogram, found.edges_mm) == ("RAS", 0, None)
    assert found.likeness[0] == pytest.approx(1)
    assert found.likeness[1] < 0.8
    assert found.dice == 1
    assert all(organ.volume_ratio == 1 for organ in found.organs.values())
    np.testing.assert_allclose(found.spacing_mm, np.linalg.norm(ours.affine[:3, :3], axis=0))
    assert found.line is not None
    assert found.line.slope == pytest.approx(1 / (HIGH - LOW))
    assert found.line.offset == pytest.approx(-LOW / (HIGH - LOW))
    assert found.line.window == pytest.approx((LOW, HIGH))
    assert found.line.residual < 1e-3


@pytest.mark.parametrize("codes", EVERY)
def test_every_orientation_is_found_from_the_picture_alone(codes, ours, theirs):
    assert best_orientation(ours.image, turned(theirs[0], codes))[0] == codes


@pytest.mark.parametrize("which", ["in no window", "flat in it"])
def test_pictures_that_tell_no_orientation_are_one_clear_message(ours, theirs, which):
    mine = np.zeros_like(ours.image)
    if which == "flat in it":
        mine = np.repeat(np.float32([0, 0.5, 0.5, 1]), 8) * np.ones((32, 32, 1), np.float32)
    with pytest.raises(ValueError, match="case a: the orientation cannot be determined"):
        difference("a", replace(ours, image=mine), theirs[0], None, PHANTOM, in_hu=False)


def test_hu_in_other_axes_are_found_to_be_hu(ours, theirs):
    image, labels = (turned(array, "ILP") for array in theirs)
    found = difference("a", ours, image, labels, PHANTOM, in_hu=True)
    assert found.orientation == "ILP"
    assert found.edges_mm is None
    assert found.line is not None
    assert found.line.slope == pytest.approx(1, abs=0.05)
    assert found.line.offset == pytest.approx(0, abs=5)
    assert found.line.window == (None, None)
    assert found.histogram < 0.02
    assert found.dice is not None
    assert found.dice > 0.8


@pytest.mark.parametrize("window", [(-75, 200), (-160, 240)])
def test_another_window_is_found(window, ours, theirs):
    low, high = window
    image = np.clip((theirs[0] - low) / (high - low), 0, 1)
    found = difference("a", ours, image, theirs[1], PHANTOM, in_hu=False)
    assert found.line is not None
    assert found.line.slope == pytest.approx(1 / (high - low), rel=0.06)
    np.testing.assert_allclose(found.line.window, window, atol=12)
    assert found.histogram > 0.01


def test_a_scaling_by_mean_and_deviation_is_a_line(ours, theirs):
    mean, deviation = theirs[0].mean(), theirs[0].std()
    image = (theirs[0] - mean) / deviation
    found = difference("a", ours, image, theirs[1], PHANTOM, in_hu=False)
    assert found.line is not None
    assert found.line.slope == pytest.approx(1 / deviation, rel=0.06)
    assert found.line.offset == pytest.approx(-mean / deviation, abs=0.05)


def test_another_grid_over_the_same_field_of_view_is_measured(phantoms, ours):
    image, labels = pairs(phantoms, spacing_mm=10.0)["phantom_0000"]
    found = difference("a", ours, image, labels.astype(int), PHANTOM, in_hu=True)
    assert found.edges_mm is None
    np.testing.assert_allclose(found.spacing_mm, 10, atol=0.25)
    assert found.our_shape != found.their_shape


def test_another_field_of_view_is_measured_by_the_organs(ours, theirs):
    spacing = np.linalg.norm(ours.affine[:3, :3], axis=0)
    cut = (slice(6, None), slice(None), slice(None, -5))
    found = difference("a", ours, theirs[0][cut], theirs[1][cut], PHANTOM, in_hu=True)
    assert found.edges_mm is not None
    (left, _), front, (_, top) = found.edges_mm
    assert left == pytest.approx(-6 * spacing[0], abs=0.7 * spacing[0])
    assert front == (0, 0)
    assert top == pytest.approx(-5 * spacing[2], abs=0.7 * spacing[2])
    assert found.histogram < 0.03
    assert found.dice is not None
    assert found.dice > 0.6


def test_moved_labels_have_less_dice_and_eaten_ones_less_volume(ours):
    labels = ours.label.astype(int)
    liver = PHANTOM.labels["liver"]
    eaten = np.where((labels == liver) & (np.arange(labels.shape[2]) % 2 == 0), 0, labels)
    found = difference("a", ours, ours.image, eaten, PHANTOM, in_hu=False)
    assert found.organs["liver"].volume_ratio == pytest.approx(0.5, abs=0.05)
    share = (eaten == liver).sum() / (labels == liver).sum()
    assert found.organs["liver"].dice == pytest.approx(2 * share / (1 + share))
    assert found.organs["spleen"].dice == 1


def test_a_label_that_the_descriptor_does_not_know_is_no_organ(ours):
    liver = PHANTOM.labels["liver"]
    labels = ours.label.astype(int)
    labels[labels == liver] = 256 + liver
    found = difference("a", ours, ours.image, labels, PHANTOM, in_hu=False).organs["liver"]
    assert (found.their_voxels, found.dice) == (0, 0)


def test_without_masks_there_is_no_dice_and_noise_is_no_likeness(ours):
    noise = np.random.default_rng(0).normal(size=ours.image.shape).astype(np.float32)
    found = difference("a", ours, noise, None, PHANTOM, in_hu=False)
    assert found.likeness[0] < 0.3
    assert found.organs == {}
    assert found.dice is None
    empty = difference("a", ours, np.zeros((5, 5, 5), np.float32), None, PHANTOM, in_hu=False)
    assert empty.line is None
