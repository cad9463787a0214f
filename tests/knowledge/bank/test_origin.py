"""Caveats: a sentence for each mark of an origin, none for texts as answered."""

import dataclasses
from pathlib import Path

import pytest

from knowledge.asking.assembly import literal
from knowledge.bank.bank import Bank
from knowledge.bank.encoding import encode
from knowledge.bank.merge import merge
from knowledge.bank.origin import caveats, in_words
from knowledge.descriptions import DescriptionSet
from knowledge.encoders.hashing import Hashing
from knowledge.questions.template import Template, Wording
from tests.support.paths import ROOT

SET = literal(
    Template("t", Wording(title="t", aspects={"place": "the {organ}"})), ("background", "hub")
)


def edited(described: DescriptionSet, text: str) -> DescriptionSet:
    """The set as an editor leaves it: another text of the last class, the same origin."""
    raw = described.model_dump(mode="json")
    raw["descriptions"][-1]["samples"][0]["text"] = text
    return DescriptionSet.model_validate(raw)


def test_texts_as_answered_have_no_caveat():
    assert caveats(encode(SET, Hashing(8)).origin) == ()
    assert caveats(Bank.read(ROOT / "tests" / "support" / "saved" / "bank.h5").origin) == ()


def test_an_edit_and_a_share_of_other_texts_follow_into_bank_and_merged_bank(tmp_path: Path):
    measured = SET.model_copy(update={"supported_share": 0.75, "supported_share_of": SET.digest})
    changed = encode(edited(measured, "a wheel"), Hashing(8))
    expected = (
        "Edited by hand after the answer: hub, place.",
        f"The supported share of 0.750 was measured on other texts (descriptions "
        f"{SET.digest[:12]}); `tak check --record` measures it anew.",
    )
    assert caveats(changed.origin) == expected
    changed.write(tmp_path / "bank.h5")
    assert caveats(Bank.read(tmp_path / "bank.h5").origin) == expected
    other = dataclasses.replace(
        encode(SET, Hashing(8)), classes=("background", "rim"), origin={"kind": "descriptions"}
    )
    assert caveats(merge(changed, other).origin) == expected


def test_an_edit_that_is_undone_is_no_edit():
    back = edited(edited(SET, "a wheel"), SET.descriptions[-1].text)
    assert back.edited == ()
    assert caveats(encode(back, Hashing(8)).origin) == ()


def test_a_share_of_the_scans_that_corrected_the_answers_is_not_independent():
    corrected = SET.model_copy(
        update={"supported_share": 1.0, "supported_share_independent": False}
    )
    (sentence,) = caveats(encode(corrected, Hashing(8)).origin)
    assert "1.000 is not independent" in sentence


@pytest.mark.parametrize(
    "origin", [{"edited": 3, "parts": "none", "supported_share": "x"}, {"parts": [1, {}]}]
)
def test_origins_that_others_wrote_do_no_harm(origin):
    assert caveats(origin) == ()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "none"),
        (True, "yes"),
        (0.123456, "0.1235"),
        (["a", 2], "a, 2"),
        ([{"calls": 3, "model": ""}], "calls 3, model none"),
    ],
)
def test_values_are_in_words(value, words):
    assert in_words(value) == words
