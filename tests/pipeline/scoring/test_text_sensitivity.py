"""Text sensitivity: other vectors in the place of a model's own, and its own again afterward."""

import math

import numpy as np
import pytest
import torch

from knowledge.bank.bank import Bank
from pipeline.runs.open_model import open_model
from pipeline.scoring.text_sensitivity import other_vectors, replaced, text_sensitivity
from tests.support.small_run import make_bank, make_run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(prepared, tmp_path_factory):
    """An untrained model with a text head, that sees several classes."""
    folder = make_run(tmp_path_factory.mktemp("sensitivity") / "run", prepared.spec)
    return open_model(folder, device=CPU)


def test_the_same_vectors_change_nothing_and_dice_is_that_of_the_masks(model, prepared):
    found = text_sensitivity(
        model, prepared, "test", {"same": model.network.vectors.detach().clone()}
    )["same"]
    assert found.changed == 0
    assert all(lost == 0 or math.isnan(lost) for lost in found.dice_lost.values())
    assert list(found.dice) == list(prepared.spec.classes[1:])


def test_exchanged_rows_are_seen_and_the_own_text_comes_back(model, prepared):
    before = model.network.vectors.detach().clone()
    found = text_sensitivity(model, prepared, "test", other_vectors(model))
    assert list(found) == ["exchanged", "mean", "random"]
    assert found["exchanged"].changed > 0.05
    torch.testing.assert_close(model.network.vectors.detach(), before, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="stop"), replaced(model, 2 * before):
        raise RuntimeError("stop")
    torch.testing.assert_close(model.network.vectors.detach(), before, rtol=0, atol=0)


def test_other_vectors_keep_what_they_say_they_keep(model):
    own = model.network.vectors.detach()
    others = other_vectors(model, seed=3)
    torch.testing.assert_close(others["exchanged"][1], own[0])
    assert others["mean"].std(0).max() == 0
    torch.testing.assert_close(others["random"].norm(dim=-1), own.norm(dim=-1))
    again = other_vectors(model, seed=3)["random"]
    torch.testing.assert_close(again, others["random"], rtol=0, atol=0)


def test_a_bank_of_another_width_is_refused(model, prepared, tmp_path):
    bank = make_bank(tmp_path / "own.h5", prepared.spec)
    wide = np.concatenate([bank.vectors, bank.vectors], axis=2)
    shape = {name: getattr(bank, name) for name in bank.__dataclass_fields__}
    shape |= {"vectors": wide, "fingerprint": np.zeros((0, wide.shape[2]), np.float32)}
    Bank(**shape).write(tmp_path / "wide.h5")
    with pytest.raises(ValueError, match=r"wide\.h5 has vectors of shape .* expected"):
        other_vectors(model, tmp_path / "wide.h5")
