"""A mistyped name in the segmentation stage is answered with the name that it resembles."""

from pathlib import Path

import pytest
from torch import nn

from knowledge.common import suggest as twin
from segmentation.common import suggest
from segmentation.data.case_files import Prepared
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.layouts import LAYOUTS, checked_layout
from segmentation.evaluation.rules import RULES, named
from segmentation.inference.sliding_window import BLENDS, importance_map
from segmentation.methods.base.cubes import recover
from segmentation.methods.base.method import check_choice
from segmentation.methods.supervised import Supervised
from segmentation.networks.heads.text import FORMS, KERNELS, TextHead
from segmentation.networks.vnet import VNet, initialize
from segmentation.phantom.population import Population
from tests.support.paths import DATA
from tests.support.small_parts import builder, context_of

AMOS = DatasetSpec.read(DATA / "amos.toml")
SIZES = (1, 1, 1, 1, 9.0)  # cases of each part, and voxels in mm
BATCH, ORGANS = ("batch", "instance"), ("liver", "spleen")
PREPARED = Prepared(AMOS, None, Path("out"), {"amos_0001": {}, "amos_0002": {}})


@pytest.mark.parametrize("name", ["LIVER", "left kidny", "left-kidney", "x", ""])
def test_both_twins_give_the_same_answer(name):
    known = ["liver", "left_kidney", "spleen"]
    assert suggest.unknown("organ", name, known) == twin.unknown("organ", name, known)
    assert suggest.did_you_mean(name, known) == twin.did_you_mean(name, known)
    assert suggest.nearest(name, known) == twin.nearest(name, known)


def mistyped(name):
    """The name with two neighboring letters exchanged, or one letter less."""
    middle = len(name) // 2
    letters = [*name]
    letters[middle - 1 : middle + 1] = reversed(letters[middle - 1 : middle + 1])
    other = "".join(letters)
    return other if other != name else name[:-1]


CHOICES = {
    "metric rules": (named, [rules.name for rules in RULES]),
    "layout": (checked_layout, LAYOUTS),
    "split": (AMOS.split, AMOS.split_names),
    "organ": (AMOS.organ, AMOS.labels),
    "case": (PREPARED.file, PREPARED.cases),
    "blend": (lambda name: importance_map((4, 4, 4), name), BLENDS),
    "norm": (lambda name: VNet(width=4, levels=3, norm=name), BATCH),
    "initialization": (lambda name: initialize(nn.Identity(), name), ("kaiming", "xavier")),
    "kernel": (lambda name: TextHead(4, (4, 8, 16), 2, 6, kernel=name), KERNELS),
    "form": (lambda name: TextHead(4, (4, 8, 16), 2, 6, form=name), FORMS),
    "cube order": (lambda name: recover(CUBES, (1, 1, 1), name), ("correct", "published")),
    "predictor": (lambda name: METHOD.predict(None, name), ("student",)),
    "mask choice": (lambda name: check_choice("mask choice", name, ORGANS), ORGANS),
    "variety": (
        lambda name: Population(1, 1, 1, 1, spacing_mm=9.0, variety=name),
        ("plain", "clinical"),
    ),
}
METHOD = Supervised(context_of(builder()))
CUBES = METHOD.network.vnet.state_dict().popitem()[1].new_zeros(1, 1, 1, 2, 2, 2)


@pytest.mark.parametrize("kind", CHOICES)
def test_a_mistyped_choice_is_answered_with_the_one_that_it_resembles(kind):
    choose, known = CHOICES[kind]
    answers = []
    for name in known:
        with pytest.raises((LookupError, ValueError)) as fault:
            choose(mistyped(name))
        message = str(fault.value)
        assert repr(mistyped(name)) in message
        assert all(other in message for other in known), "the message lists the names"
        answers.append(suggest.did_you_mean(mistyped(name), known))
        assert answers[-1] in message
    assert any(answers)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("window_hu", "window_uh", r"window_uh: unknown key; did you mean window_hu\?"),
        (
            'size = "large"',
            'sise = "large"',
            r"organs\.\d+\.sise: unknown key; did you mean size\?",
        ),
        ('size = "large"', 'size = "lagre"', r"not 'lagre'; did you mean large\?"),
        ("spacing_mm", "spacing", r"grid.*spacing: unknown key; did you mean spacing_mm\?"),
    ],
)
def test_a_mistyped_key_or_value_of_a_descriptor_is_answered_alike(tmp_path, old, new, message):
    text = (DATA / "amos.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "own.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        DatasetSpec.read(tmp_path / "own.toml")
