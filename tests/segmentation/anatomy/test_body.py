"""The mean body: its organs, in one order, with random numbers that stay in step."""

import numpy as np
import pytest

from segmentation.anatomy.body import ORGANS, Variation, organs


def drawn(*names):
    return {part.name: part for part in organs(Variation(np.random.default_rng(0)), names)}


def test_a_subject_has_the_named_organs_in_painting_order():
    names = tuple(reversed(ORGANS))
    assert list(drawn(*names)) == list(ORGANS)


def test_an_organ_is_the_same_whichever_others_are_drawn():
    alone, together = drawn("spleen")["spleen"], drawn(*ORGANS)["spleen"]
    points = np.stack(np.meshgrid(*[np.linspace(-150, 150, 9)] * 3)).reshape(3, -1)
    assert alone.hu == together.hu
    assert np.array_equal(alone.shape.distance(points), together.shape.distance(points))


def test_paired_organs_have_one_hu():
    parts = drawn(*ORGANS)
    assert parts["left kidney"].hu == parts["right kidney"].hu


def test_an_organ_without_a_shape_is_answered_with_those_that_have_one():
    with pytest.raises(LookupError, match=r"no shape for 'splean'; .*did you mean spleen\?"):
        drawn("splean")
