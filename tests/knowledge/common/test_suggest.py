"""A mistyped name is answered with the known name that it probably means."""

from types import SimpleNamespace

import pytest

from knowledge.bank.encoding import encode
from knowledge.common.models import checked
from knowledge.common.suggest import did_you_mean, nearest, unknown
from knowledge.encoders.base.encoder import TextEncoder
from knowledge.providers.base.answer_store import AnswerStore, StoredAnswer
from knowledge.providers.base.provider import Provider
from knowledge.questions.answer_format import AnsweredClaim
from knowledge.questions.template import Wording
from pipeline.config.catalog import find
from pipeline.config.registry import load_choice, names
from pipeline.datasets.protocols import rules_for
from pipeline.files import shipped
from pipeline.texts.encoders import make_encoder
from segmentation.data.descriptor import DatasetSpec
from segmentation.methods.base.method import Method
from segmentation.networks.alignments.base.alignment import Alignment
from segmentation.networks.heads.base.head import Head


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


REGISTRIES = {
    "segmentation.methods": Method,
    "segmentation.networks.heads": Head,
    "segmentation.networks.alignments": Alignment,
    "knowledge.encoders": TextEncoder,
    "knowledge.providers": Provider,
}


@pytest.mark.parametrize("package", REGISTRIES)
def test_a_mistyped_name_of_any_registry_is_answered_with_the_names(package):
    known = names(package)
    for name in known:
        with pytest.raises(LookupError, match=rf"{', '.join(known)}; did you mean \w+\?$"):
            load_choice(package, f"{name}x", REGISTRIES[package])


@pytest.mark.parametrize("kind", ["prompts", "data", "recipes", "studies"])
def test_a_mistyped_name_of_any_shipped_file_is_answered_with_the_names(kind):
    for name in shipped.names(kind):
        with pytest.raises(LookupError, match=r"there is .*; did you mean [\w-]+\?$"):
            shipped.find(kind, f"{name}x")


STORE = AnswerStore(
    model="toy", template="toy", template_digest="0",
    answers=(StoredAnswer(organ="liver", aspect="shape", sample=0, answer="A wedge."),),
)  # fmt: skip
WORDING = {"title": "toy", "source": "", "aspects": {"shape": "Of the {organ}?"}}


@pytest.mark.parametrize(
    ("choose", "meant"),
    [
        (lambda: STORE.get("livre", "shape", 0), "liver"),
        (lambda: STORE.get("liver", "shpae", 0), "shape"),
        (lambda: checked({**WORDING, "aspects": {"shape": "{oragn}"}}, Wording, ""), "organ"),
        (lambda: checked({**WORDING, "background": {"shpae": "-"}}, Wording, ""), "shape"),
        (lambda: checked({**WORDING, "titel": "toy"}, Wording, ""), "title"),
        (lambda: checked({"relation": "left_off", "other": "liver"}, AnsweredClaim, ""), "left_of"),
    ],
    ids=["organ", "aspect", "variable", "background", "key", "relation"],
)
def test_a_mistyped_name_in_a_file_is_answered_with_the_one_that_it_resembles(choose, meant):
    with pytest.raises((LookupError, ValueError), match=rf"; did you mean {meant}\?"):
        choose()
