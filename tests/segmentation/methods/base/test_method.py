"""The base of methods: shares of a run, random numbers by step, choices."""

import math
from dataclasses import replace

import pytest
import torch

from segmentation.methods.base.method import check_choice
from segmentation.methods.supervised import Supervised
from tests.support.small_parts import CLASSES, builder, context_of

CPU = torch.device("cpu")


def test_progress_begins_after_the_warm_up_and_ends_below_one():
    method = Supervised(context_of(builder(), warmup_steps=20))
    assert method.progress(20) == 0
    assert method.progress(60) == 0.5
    assert method.progress(99) == pytest.approx(79 / 80)


def test_random_numbers_are_a_function_of_seed_and_step():
    one, other = (Supervised(context_of(builder())) for _ in range(2))

    def drawn(method, step):
        return torch.rand(4, generator=method.generator(step, CPU))

    assert torch.equal(drawn(one, 7), drawn(other, 7))
    assert not torch.equal(drawn(one, 7), drawn(one, 8))
    another = Supervised(replace(context_of(builder()), seed=5))
    assert not torch.equal(drawn(one, 7), drawn(another, 7))


def test_confident_labels_are_the_certain_classes_alone():
    method = Supervised(context_of(builder()))
    probabilities = torch.full((1, CLASSES, 1, 1, 2), 1 / CLASSES)
    probabilities[0, :, 0, 0, 0] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    labels = method.confident_labels(probabilities, 0)
    assert labels.tolist() == [[[[1, -1]]]]
    assert not math.isnan(method.unlabeled_weight(50))


def test_a_choice_is_given_back_or_refused():
    assert check_choice("mode", "hard", ("hard", "soft")) == "hard"
    with pytest.raises(LookupError, match=r"no mode 'sotf'; .*did you mean soft\?"):
        check_choice("mode", "sotf", ("hard", "soft"))


def test_an_unknown_predictor_is_answered_with_the_known_ones():
    method = Supervised(context_of(builder()))
    with pytest.raises(LookupError, match="no predictor 'teacher'; there is student"):
        method.predict(torch.zeros(1, 1, 16, 16, 16), "teacher")
