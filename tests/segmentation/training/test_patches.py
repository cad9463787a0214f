import tracemalloc
from collections import Counter

import numpy as np
import pytest
import torch

from segmentation.data.case_files import FORMAT_VERSION, write_case
from segmentation.data.preparation import read_case
from segmentation.training.augmentation import Augmentation, Augmenter
from segmentation.training.patches import PatchStream, batches


def files(prepared):
    split = prepared.split
    return (
        [prepared.file(case) for case in split.labeled],
        [prepared.file(case) for case in split.unlabeled],
    )


def stream(prepared, **options):
    return PatchStream(*files(prepared), **{"patch": (16, 16, 16), "seed": 1, **options})


def test_a_step_always_gives_the_same_batch_whoever_asks_and_in_whatever_order(prepared):
    forward = [stream(prepared)[step] for step in range(5)]
    backward = {step: stream(prepared, cached_cases=1)[step] for step in reversed(range(5))}
    for step, batch in enumerate(forward):
        assert torch.equal(batch.image, backward[step].image)
        assert torch.equal(batch.label, backward[step].label)
        assert torch.equal(batch.unlabeled, backward[step].unlabeled)


KEEPING = [{"cached_cases": 0}, {"cached_cases": 1}, {"device": torch.device("cpu")}]
CUDA = pytest.param({"device": torch.device("cuda")}, marks=pytest.mark.gpu)


@pytest.mark.parametrize("patch", [(16, 16, 16), (64, 16, 48)])
@pytest.mark.parametrize("keeping", [*KEEPING, CUDA])
def test_patches_are_the_same_from_memory_from_files_and_on_a_device(prepared, keeping, patch):
    plain, other = stream(prepared, patch=patch), stream(prepared, patch=patch, **keeping)
    for step in range(6):
        expected, found = plain[step], other[step]
        for one, two in zip(expected._parts, found._parts, strict=True):
            assert two.device.type == keeping.get("device", torch.device("cpu")).type
            assert one.dtype == two.dtype
            assert torch.equal(one, two.cpu())


def test_memory_holds_no_more_volumes_than_are_asked_for(tmp_path):
    volume = np.random.default_rng(0).random((80, 80, 80), dtype=np.float32)
    grid = {"affine": np.eye(4), "source_affine": np.eye(4), "source_shape": volume.shape}
    paths = [tmp_path / f"{place}.h5" for place in range(6)]
    for path in paths:
        arrays = {"image": volume, "label": np.ones(volume.shape, np.uint8)}
        write_case(path, arrays, {"format_version": FORMAT_VERSION} | grid)
    for kept, least, most in [(0, 0, 1), (2, 2, 3), (None, 6, 8)]:
        source = PatchStream(paths[:3], paths[3:], patch=(16, 16, 16), cached_cases=kept)
        tracemalloc.start()
        for step in range(12):
            source[step]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert least <= peak / volume.nbytes <= most


def test_volumes_that_do_not_fit_on_the_device_are_refused_with_their_size(prepared):
    cpu = torch.device("cpu")
    with pytest.raises(
        ValueError, match=r"4 volumes need 0\.\d+ GiB on cpu.* 1e-05 .*raise it, or"
    ):
        stream(prepared, device=cpu, device_gib=1e-5)
    with pytest.raises(ValueError, match=r"cached_cases is 2, but a device keeps all"):
        stream(prepared, device=cpu, cached_cases=2)


def test_worker_processes_give_the_same_batches_in_order(prepared):
    here = stream(prepared)
    for step, batch in enumerate(batches(stream(prepared), 2, 6, workers=2), start=2):
        assert torch.equal(batch.image, here[step].image)


def test_patches_are_cut_out_of_the_volume_with_their_labels(prepared):
    labeled, _ = files(prepared)
    cases = [read_case(path) for path in labeled]
    batch = stream(prepared)[7]
    for image, label in zip(batch.image[:, 0].numpy(), batch.label.numpy(), strict=True):
        found = False
        for case in cases:
            padded = [np.pad(a, [(0, max(0, 16 - s)) for s in a.shape]) for a in
                      (case.image, case.label)]  # fmt: skip
            windows = np.lib.stride_tricks.sliding_window_view(padded[0], (16, 16, 16))
            places = np.argwhere((windows == image).all(axis=(3, 4, 5)))
            for place in places:
                cut = tuple(slice(s, s + 16) for s in place)
                found |= bool((padded[1][cut] == label).all())
        assert found


def test_every_start_can_be_drawn_including_the_last(prepared):
    labeled, _ = files(prepared)
    shape = read_case(labeled[0]).image.shape
    patch = tuple(max(2, side - 2) for side in shape)
    corner = read_case(labeled[0]).image[tuple(slice(-p, None) for p in patch)]
    many = PatchStream(labeled[:1], [], patch=patch, unlabeled_per_step=0, labeled_per_step=1)
    drawn = [many[step].image[0, 0].numpy() for step in range(300)]
    assert any(np.array_equal(image, corner) for image in drawn)


def test_all_cases_are_seen_equally_often(prepared):
    _labeled, unlabeled = files(prepared)
    source = stream(prepared, labeled_per_step=1, unlabeled_per_step=1)
    chosen = Counter(source._choose(step, 1, 0) for step in range(10 * len(unlabeled)))
    assert set(chosen.values()) == {10}


def test_a_volume_smaller_than_the_patch_is_padded_with_background(prepared):
    batch = stream(prepared, patch=(64, 64, 64))[0]
    assert batch.image.shape == (2, 1, 64, 64, 64)
    assert batch.label[:, 0].max() == 0
    assert batch.image[:, :, 0].max() == 0
    counts = np.bincount(batch.label.flatten().numpy(), minlength=14)
    whole = read_case(files(prepared)[0][0]).label
    assert (counts[1:] >= np.bincount(whole.ravel(), minlength=14)[1:]).all()


def test_no_label_of_an_unlabeled_case_is_in_its_file(prepared):
    for path in files(prepared)[1]:
        assert read_case(path).label is None


def test_streams_without_what_they_need_are_refused(prepared):
    labeled, unlabeled = files(prepared)
    with pytest.raises(ValueError, match="expected at least one labeled case"):
        PatchStream([], unlabeled, patch=(8, 8, 8))
    with pytest.raises(ValueError, match="no unlabeled case"):
        PatchStream(labeled, [], patch=(8, 8, 8))
    alone = PatchStream(labeled, [], patch=(8, 8, 8), unlabeled_per_step=0)
    assert alone[0].unlabeled.shape == (0, 1, 8, 8, 8)


def volume_of_coordinates(path, shape):
    """A labeled case whose voxels number themselves."""
    affine = np.eye(4)
    grid = {"affine": affine, "source_affine": affine, "source_shape": shape}
    image = 1 + np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    arrays = {"image": image, "label": np.ones(shape, np.uint8)}
    write_case(path, arrays, {"format_version": FORMAT_VERSION} | grid)
    return image


@pytest.mark.parametrize("shape", [(20, 18, 16), (17, 20, 30), (9, 40, 19)])
def test_published_crops_are_those_of_the_released_loader(tmp_path, shape):
    """The released loader in four lines: pad all sides if one is small, draw from a range."""
    path, patch, steps = tmp_path / "a.h5", 16, 200
    image = volume_of_coordinates(path, shape)
    if any(side <= patch for side in shape):
        image = np.pad(image, [(max((patch - side) // 2 + 3, 0),) * 2 for side in shape])
    places = [range(side - patch) for side in image.shape]
    windows = np.lib.stride_tricks.sliding_window_view(image, (patch,) * 3)
    one = {"patch": (patch,) * 3, "labeled_per_step": 1, "unlabeled_per_step": 0}
    own = PatchStream([path], [], crops="published", **one)
    drawn = [own[step].image[0, 0].numpy() for step in range(steps)]
    begins = [np.argwhere((windows == crop).all((3, 4, 5))) for crop in drawn]
    assert all(len(found) == 1 for found in begins)
    for axis, found in enumerate(np.concatenate(begins).T):
        assert set(found.tolist()) <= set(places[axis])
        if len(places[axis]) < 8:
            assert set(found.tolist()) == set(places[axis])


def test_published_order_repeats_each_list_within_an_epoch(tmp_path):
    """An epoch of 5 steps of 2 + 2: ten draws of each list, a case may come twice in a step."""
    paths = [tmp_path / f"{number}.h5" for number in range(7)]
    own = PatchStream(paths[:2], paths[2:], patch=(8, 8, 8), case_order="published")
    twice = 0
    for epoch in range(6):
        steps = range(5 * epoch, 5 * epoch + 5)
        for stream_number, count in ((0, 5), (1, 2)):
            chosen = [own._choose(step, stream_number, place) for step in steps for place in (0, 1)]
            assert set(Counter(chosen).values()) == {count}
            twice += sum(chosen[k] == chosen[k + 1] for k in range(0, 10, 2))
    assert twice > 10


@pytest.mark.parametrize("views", ["one", "two"])
def test_processes_cut_disjoint_shares_of_the_same_batch(prepared, views):
    augmenter = Augmenter(Augmentation(gamma=(0.5, 2.0), views=views), seed=1)
    options = {"labeled_per_step": 2, "unlabeled_per_step": 4, "augmenter": augmenter}
    for step in range(3):
        together = stream(prepared, **options)[step]
        shares = [stream(prepared, **options, rank=rank, ranks=2)[step] for rank in range(2)]
        for place, part in enumerate(together._parts):
            assert torch.equal(part, torch.cat([share._parts[place] for share in shares]))


def test_patches_that_processes_cannot_share_equally_are_refused(prepared):
    with pytest.raises(ValueError, match="unlabeled_per_step is 3, which 2 processes cannot share"):
        stream(prepared, unlabeled_per_step=3, rank=1, ranks=2)
