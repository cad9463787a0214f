from collections import Counter

import numpy as np
import pytest
import torch

from segmentation.patches import PatchStream, batches
from segmentation.prepare import read_case


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
    with pytest.raises(ValueError, match="no labeled case"):
        PatchStream([], unlabeled, patch=(8, 8, 8))
    with pytest.raises(ValueError, match="no unlabeled case"):
        PatchStream(labeled, [], patch=(8, 8, 8))
    alone = PatchStream(labeled, [], patch=(8, 8, 8), unlabeled_per_step=0)
    assert alone[0].unlabeled.shape == (0, 1, 8, 8, 8)
