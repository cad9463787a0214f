"""A mistyped name is answered with the known name that it probably means."""

from types import SimpleNamespace

import pytest

from knowledge.bank.encoding import encode
from knowledge.common.suggest import did_you_mean, nearest, unknown
from pipeline.config.catalog import find
from pipeline.datasets.protocols import rules_for
from pipeline.files import shipped
from pipeline.texts.encoders import make_encoder
from segmentation.data.descriptor import DatasetSpec


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LIVER", "liver"),
        ("left kidny", "left_kidney"),
        ("left-kidney", "left_kidney"),
        ("x", None),
    ],
)
def test_the_nearest_name_ignores_letter_case_dashes_and_spaces(name, expected):
    assert nearest(name, ["liver", "left_kidney", "spleen"]) == expected


def test_a_message_lists_the_names_and_ends_with_the_near_one():
    assert unknown("organ", "livr", ["liver", "spleen"]) == (
        "no organ 'livr'; there is liver, spleen; did you mean liver?"
    )
    assert did_you_mean("brain", ["liver", "spleen"]) == ""


def _spec():
    return DatasetSpec.read(shipped.find("data", "amos"))


@pytest.mark.parametrize(
    ("choose", "meant"),
    [
        (lambda: find("magicnte"), "magicnet"),
        (lambda: make_encoder("hashign:64"), "hashing"),
        (lambda: shipped.find("data", "amso"), "amos"),
        (lambda: shipped.find("recipes", "magicnte"), "magicnet"),
        (lambda: shipped.find("prompts", shipped.names("prompts")[0] + "s"), None),
        (lambda: rules_for("scna", _spec()), "scan"),
        (lambda: encode(SimpleNamespace(), None, long_text="erorr"), "error"),
    ],
    ids=["info", "encoder", "descriptor", "recipe", "wording", "rules", "long texts"],
)
def test_a_typo_is_answered_with_the_near_name(choose, meant):
    meant = meant or shipped.names("prompts")[0]
    with pytest.raises(LookupError, match=rf"there is .*did you mean {meant}\?"):
        choose()
