import numpy as np
import pytest
import torch
from torch import nn

from segmentation.methods.base.mean_teacher import make_teacher, perturb, update_teacher
from segmentation.methods.base.ramps import entropy_threshold, ramp
from segmentation.training.options import poly_rate
from tests.support.paths import GOLDEN

GOLDEN = np.load(GOLDEN / "schedules.npz")


def test_ramp_threshold_and_rate_are_the_published_ones():
    epochs, steps = GOLDEN["epoch"].tolist(), GOLDEN["step"].tolist()
    np.testing.assert_allclose([ramp(e, 160) for e in epochs], GOLDEN["ramp_160"], rtol=1e-6)
    np.testing.assert_allclose(
        [entropy_threshold(e, 100) for e in epochs], GOLDEN["entropy_threshold"], rtol=1e-6
    )
    rates = [poly_rate(0.01, k, 70_000) for k in steps]
    np.testing.assert_allclose(rates, GOLDEN["rate"], rtol=1e-6)


def test_a_ramp_in_shares_is_the_ramp_in_steps():
    assert ramp(50, 200) == pytest.approx(ramp(0.125, 0.5))
    assert ramp(3, 0) == 1
    assert ramp(900, 200) == 1


def test_the_rate_ends_at_zero_and_stays_there():
    assert poly_rate(0.01, 10, 10) == 0
    assert poly_rate(0.01, 11, 10) == 0


def test_the_teacher_is_the_student_after_one_step_and_an_average_later():
    student = nn.Linear(3, 2)
    teacher = make_teacher(student)
    average = None
    for step in range(6):
        nn.init.normal_(student.weight)
        update_teacher(teacher, student, step, decay=0.6)
        share = min(1 - 1 / (step + 1), 0.6)
        previous = student.weight if average is None else average
        average = (share * previous + (1 - share) * student.weight).detach()
        torch.testing.assert_close(teacher.weight, average)
    assert not teacher.weight.requires_grad


def test_the_noise_of_the_teacher_is_clipped_at_twice_its_scale():
    image = torch.zeros(1, 1, 32, 32, 32)
    noise = perturb(image, torch.Generator().manual_seed(0), scale=0.1)
    assert noise.abs().max().item() == pytest.approx(0.2)
    assert noise.std().item() == pytest.approx(0.0955, abs=0.003)  # a normal clipped at 2 sigma
