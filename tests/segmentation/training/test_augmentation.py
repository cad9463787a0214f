"""Transforms of patches against scipy, analytic volumes and their own repetition."""

import functools

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, gaussian_filter

from segmentation.data.case_files import FORMAT_VERSION, case_spacing, write_case
from segmentation.training.augmentation import Augmentation, Augmenter, Spatial
from segmentation.training.patches import PatchStream, batches
from tests.segmentation.training.test_trainer import interrupt_at, make_trainer, weights

SPACING = (2.0, 1.0, 4.0)
PATCH = (20, 24, 12)
EVERYTHING = {
    "probability": 1.0, "rotation": 20.0, "scaling": (0.8, 1.3), "mirror": ("y",),
    "enlarge": (1.0, 3.0), "gamma": (0.7, 1.5), "brightness": 0.1, "contrast": (0.7, 1.3),
    "blur": (0.4, 0.9), "low_resolution": (0.5, 0.9), "noise": 0.1,
}  # fmt: skip
INTENSITY = ("gamma", "brightness", "contrast", "blur", "low_resolution", "noise")
CUDA = pytest.param(torch.device("cuda"), marks=pytest.mark.gpu)


def write(path, image, label, spacing=SPACING):
    affine = np.diag([*spacing, 1.0])
    grid = {"affine": affine, "source_affine": affine, "source_shape": image.shape}
    arrays = {"image": image.astype(np.float32)}
    if label is not None:
        arrays["label"] = label.astype(np.uint8)
    write_case(path, arrays, {"format_version": FORMAT_VERSION} | grid)
    return path


@pytest.fixture
def smooth(tmp_path):
    """A labeled and an unlabeled case of smooth noise, and their arrays."""
    random = np.random.default_rng(0)
    arrays, paths = [], []
    for name in ("labeled", "unlabeled"):
        image = gaussian_filter(random.random((34, 40, 22)), 2)
        image = (image - image.min()) / np.ptp(image)
        label = np.digitize(image, [0.4, 0.55, 0.7])
        paths.append(write(tmp_path / f"{name}.h5", image, label if name == "labeled" else None))
        arrays.append((image.astype(np.float32), label))
    return paths, arrays


def stream(paths, augmenter=None, **changes):
    return PatchStream(paths[:1], paths[1:], patch=PATCH, seed=4, augmenter=augmenter, **changes)


def augmenter(**options):
    return Augmenter(Augmentation(**options), small=(3,), seed=4)


def origins(paths, tmp_path, step, stream_number):
    """Where the patches of a step begin: read from volumes of coordinates."""
    grid = np.indices((34, 40, 22))
    starts = []
    for axis in range(3):
        own = [write(tmp_path / f"{axis}{path.name}", grid[axis], grid[0]) for path in paths]
        batch = stream(own)[step]
        patches = (batch.image, batch.unlabeled)[stream_number][:, 0]
        starts.append([int(patch[0, 0, 0]) for patch in patches])
    return np.array(starts).T


@pytest.mark.parametrize("step", range(4))
def test_rotated_and_scaled_patches_and_labels_are_those_of_scipy(smooth, tmp_path, step):
    paths, ((image, label), _) = smooth
    own = augmenter(probability=1.0, rotation=30.0, scaling=(0.8, 1.25), mirror=("y", "z"))
    batch = stream(paths, own)[step]
    half = (np.array(PATCH) - 1) / 2
    for place, origin in enumerate(origins(paths, tmp_path, step, 0)):
        matrix = own.spatial((0, step, place), SPACING, labeled=True).matrix
        given = {
            "matrix": matrix, "offset": origin + half - matrix @ half,
            "output_shape": PATCH, "mode": "grid-constant",
        }  # fmt: skip
        expected = affine_transform(image, order=1, **given)
        assert np.abs(batch.image[place, 0].numpy() - expected).max() < 1e-3
        labels = affine_transform(label, order=0, **given)
        assert (batch.label[place].numpy() == labels).mean() > 0.999  # ties of rounding


def test_a_block_turned_by_90_degrees_is_numpy_s_and_its_label_follows():
    block = torch.zeros(11, 11, 11)
    block[2:9, 4:6, 3:5] = torch.rand(7, 2, 2, generator=torch.Generator().manual_seed(0)) + 0.5
    turn = Spatial(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), {})
    own = augmenter(rotation=1)
    image = own.resample(block, turn, np.zeros(3), (11, 11, 11), "bilinear")
    label = own.resample((block > 0).to(torch.uint8), turn, np.zeros(3), (11, 11, 11), "nearest")
    expected = np.rot90(block.numpy(), axes=(0, 1), k=-1)
    assert np.abs(image.numpy() - expected).max() < 1e-5
    assert torch.equal(label > 0, image > 0.25)


def test_a_rotation_keeps_mm_and_a_scale_multiplies_them():
    own = augmenter(probability=1.0, rotation=180.0, scaling=(1.5, 1.5))
    spacing = np.array(SPACING)
    for step in range(5):
        matrix = own.spatial((0, step, 0), SPACING, labeled=True).matrix
        in_mm = matrix * spacing[:, None] / spacing[None]
        assert np.allclose(in_mm @ in_mm.T, np.eye(3) / 1.5**2)
        assert np.linalg.det(in_mm) > 0  # never a mirror


@pytest.mark.parametrize("key", INTENSITY)
def test_a_transform_of_the_intensity_changes_images_and_never_labels(smooth, key):
    paths, _ = smooth
    plain, changed = (
        stream(paths)[3],
        stream(paths, augmenter(probability=1.0, **{key: EVERYTHING[key]}))[3],
    )
    assert torch.equal(plain.label, changed.label)
    assert not torch.allclose(plain.image, changed.image)
    assert not torch.allclose(plain.unlabeled, changed.unlabeled)
    assert changed.image.dtype == torch.float32
    assert type(changed.image) is torch.Tensor


def test_a_step_always_gives_the_same_batch_whoever_asks(smooth):
    paths, _ = smooth
    forward = [stream(paths, augmenter(**EVERYTHING))[step] for step in range(4)]
    for keeping in ({"cached_cases": 0}, {"device": torch.device("cpu")}):
        other = stream(paths, augmenter(**EVERYTHING), **keeping)
        for step in reversed(range(4)):
            for one, two in zip(forward[step]._parts, other[step]._parts, strict=True):
                assert torch.equal(one, two)
    loaded = batches(stream(paths, augmenter(**EVERYTHING)), 1, 3, workers=1)
    for step, batch in enumerate(loaded, start=1):
        assert torch.equal(batch.image, forward[step].image)
    assert not torch.equal(forward[0].image, forward[1].image)


@pytest.mark.parametrize("device", [CUDA])
def test_a_device_gives_the_same_patches_but_for_rounding(smooth, device):
    paths, _ = smooth
    here, there = (stream(paths, augmenter(**EVERYTHING), device=d)[2] for d in (None, device))
    assert torch.allclose(here.image, there.image.cpu(), atol=1e-3)
    assert (here.label == there.label.cpu()).float().mean() > 0.999


def test_two_views_show_the_same_place_with_and_without_transforms_of_the_intensity(smooth):
    paths, _ = smooth
    spatial = {"probability": 1.0, "rotation": 20.0}
    weak = stream(paths, augmenter(**spatial))[1]
    views = stream(paths, augmenter(**spatial, brightness=0.2, views="two"))[1]
    assert weak.strong is None
    assert weak.student_view is weak.unlabeled
    assert torch.equal(views.unlabeled, weak.unlabeled)
    difference = (views.strong - views.unlabeled).flatten(1)
    assert torch.allclose(difference, difference[:, :1].expand_as(difference), atol=1e-6)
    assert difference[:, 0].abs().min() > 0
    assert views.student_view is views.strong
    assert len(views.to(torch.device("cpu"))._parts) == 4


def test_small_organs_grow_in_patches_by_mm_and_unlabeled_ones_have_none(tmp_path):
    places = np.indices((40, 40, 40)) - 19.5
    ball = (places**2).sum(0) < 6**2
    paths = [write(tmp_path / f"{n}.h5", 0.2 + 0.5 * ball, 3 * ball, (2, 2, 2)) for n in "ab"]
    whole = {"patch": (40, 40, 40), "labeled_per_step": 1, "unlabeled_per_step": 1}
    own = augmenter(probability=1.0, enlarge=(2.0, 2.0))
    batch = PatchStream(paths[:1], paths[1:], augmenter=own, **whole)[0]
    volume_mm3 = 8 * int((batch.label == 3).sum())
    assert volume_mm3 == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.15)  # voxels of 8 mm3
    assert torch.equal(batch.unlabeled, PatchStream(paths[:1], paths[1:], **whole)[0].unlabeled)


def test_left_and_right_are_mirrored_only_where_no_organ_has_a_side(smooth):
    paths, _ = smooth
    options = Augmentation(mirror=("x",))
    with pytest.raises(ValueError, match=r'augmentation\.mirror: "x" exchanges left and right'):
        Augmenter(options)
    free = stream(paths, Augmenter(options, sided=False))
    plain = stream(paths)
    near = functools.partial(torch.allclose, atol=1e-5)
    turned = [near(free[s].image[0], plain[s].image[0].flip(1)) for s in range(12)]
    kept = [near(free[s].image[0], plain[s].image[0]) for s in range(12)]
    assert 2 < sum(turned) < 10
    assert sum(turned) + sum(kept) == 12


def test_one_option_does_not_change_the_numbers_of_another():
    few = augmenter(probability=1.0, rotation=20.0)
    many = augmenter(probability=1.0, rotation=20.0, enlarge=(1.0, 2.0), noise=0.3)
    one, two = (each.spatial((0, 3, 1), SPACING, labeled=True) for each in (few, many))
    assert np.array_equal(one.matrix, two.matrix)
    assert not one.growth_mm
    assert two.growth_mm.keys() == {3}


def test_spacing_is_read_from_the_case(smooth):
    assert case_spacing(smooth[0][0]) == SPACING


def test_an_augmented_run_resumes_bit_for_bit(prepared, tmp_path):
    own = Augmenter(Augmentation(**EVERYTHING | {"views": "two"}), small=(4, 5, 10), seed=3)
    whole = make_trainer(prepared, tmp_path / "whole", augmenter=own, steps=6)
    assert whole.run()
    broken = make_trainer(
        prepared, tmp_path / "broken", augmenter=own, steps=6, report=interrupt_at(4)
    )
    assert not broken.run()
    resumed = make_trainer(prepared, tmp_path / "broken", augmenter=own, steps=6)
    resumed.resume()
    assert resumed.run()
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    plain = make_trainer(prepared, tmp_path / "plain", steps=6)
    assert plain.run()
    assert any(not torch.equal(value, weights(plain)[key]) for key, value in weights(whole).items())
