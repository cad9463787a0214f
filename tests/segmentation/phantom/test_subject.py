"""Poses and plain subjects."""

from dataclasses import replace

import numpy as np

from segmentation.anatomy.body import ABDOMEN_MM, PELVIS_MM
from segmentation.phantom.subject import BOW_PERIOD_MM, Pose, field_of_view_mm, plain_subject

POINTS = np.random.default_rng(0).uniform(-100, 100, (3, 500))


def test_a_bow_moves_points_sideways_alone_and_repeats_along_the_body():
    straight = replace(Pose.draw(np.random.default_rng(1)), swings_mm=np.zeros((3, 12)))
    bent = replace(straight, bow_mm=12.0)
    moved = bent.to_anatomy(POINTS) - straight.to_anatomy(POINTS)
    assert np.abs(moved[1:]).max() < 1e-4
    assert 8 < np.abs(moved[0]).max() <= 12.001
    up = straight.turn @ np.array([0, 0, BOW_PERIOD_MM]) * straight.size[2]
    later = bent.to_anatomy(POINTS + up[:, None]) - straight.to_anatomy(POINTS + up[:, None])
    np.testing.assert_allclose(later[0], moved[0], atol=1e-3)


def test_a_larger_body_is_mapped_to_the_same_anatomy():
    pose = replace(Pose.draw(np.random.default_rng(2)), swings_mm=np.zeros((3, 12)))
    tall = replace(pose, size=2 * pose.size)
    center = pose.shift_mm[:, None]
    np.testing.assert_allclose(
        tall.to_anatomy(2 * (POINTS - center) + center),
        pose.to_anatomy(POINTS),
        rtol=1e-4,
        atol=1e-3,
    )


def test_the_field_of_view_follows_the_organs():
    assert field_of_view_mm(("liver", "bladder"))[0] == PELVIS_MM
    assert field_of_view_mm(("liver",)) == ABDOMEN_MM


def test_plain_subjects_have_every_organ():
    subject = plain_subject(("liver", "gallbladder"), np.random.default_rng(3))
    assert not subject.missing
    assert [part.name for part in subject.parts] == ["liver", "gallbladder"]
