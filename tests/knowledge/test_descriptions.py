"""Description sets: complete, in order, sealed against edits."""

import pytest

from knowledge.descriptions import Claim, Description, DescriptionSet, Origin, Sample

ORIGIN = Origin(
    provider="recorded", model="toy", template="toy", template_digest="0", question_digest="0",
    output="text",
)  # fmt: skip


def described(organ, aspect, text="A wedge.", **changes):
    sample = Sample(text=text, origin=ORIGIN, **changes)
    return Description(organ=organ, aspect=aspect, samples=(sample,))


def make(*descriptions, classes=("background", "liver"), aspects=("shape",)):
    return DescriptionSet(
        classes=classes, aspects=aspects, template="toy", template_digest="0",
        descriptions=descriptions,
    )  # fmt: skip


COMPLETE = make(described("background", "shape"), described("liver", "shape", "A large wedge."))


def test_a_set_is_the_same_after_reading(tmp_path):
    COMPLETE.write(tmp_path / "set.json")
    assert DescriptionSet.read(tmp_path / "set.json") == COMPLETE
    assert COMPLETE.get("liver", "shape").text == "A large wedge."


@pytest.mark.parametrize(
    ("descriptions", "message"),
    [
        ([described("background", "shape")], "missing liver/shape"),
        ([*COMPLETE.descriptions, described("spleen", "shape")], "spleen/shape"),
        (list(reversed(COMPLETE.descriptions)), "not in the order of classes"),
    ],
)
def test_gaps_surplus_and_another_order_are_refused(descriptions, message):
    with pytest.raises(ValueError, match=message):
        make(*descriptions)


def test_the_digest_is_of_the_content_and_not_of_its_origin():
    other = described("liver", "shape", "A large wedge.")
    other = other.model_copy(
        update={"samples": (other.samples[0].model_copy(update={"origin": ORIGIN.model_copy(
            update={"model": "another"})}),)}
    )  # fmt: skip
    assert make(described("background", "shape"), other).digest == COMPLETE.digest
    changed = make(described("background", "shape"), described("liver", "shape", "A ball."))
    assert changed.digest != COMPLETE.digest


def test_an_edit_shows_after_the_seal():
    sample = COMPLETE.get("liver", "shape").samples[0].sealed()
    assert not sample.edited
    assert sample.model_copy(update={"text": "A ball."}).edited
    claims = (Claim(organ="liver", relation="superior_to", other="spleen"),)
    assert sample.model_copy(update={"claims": claims}).edited
