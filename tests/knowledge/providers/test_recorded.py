"""Shipped answers serve every subset of their organs; claims about the others are counted."""

import pytest

from knowledge.asking.describe import describe
from knowledge.asking.valid_answers import UnusableAnswers
from knowledge.descriptions import BACKGROUND
from knowledge.providers.base.answer_store import AnswerStore
from knowledge.providers.recorded import Recorded
from knowledge.questions.template import Template
from tests.support.paths import ROOT

WORDINGS = [path.stem for path in sorted((ROOT / "data" / "answers").glob("*.json"))]


def shipped(wording: str) -> tuple[Template, AnswerStore]:
    return (
        Template.read(ROOT / "prompts" / f"{wording}.toml"),
        AnswerStore.read(ROOT / "data" / "answers" / f"{wording}.json"),
    )


@pytest.mark.parametrize("wording", WORDINGS)
def test_every_subset_keeps_the_texts_and_the_claims_within_it(wording):
    template, store = shipped(wording)
    organs = tuple(dict.fromkeys(item.organ for item in store.answers))
    full = describe(template, organs, Recorded(store)).descriptions
    assert full.claims_left_out == 0
    subsets = [(BACKGROUND, organ) for organ in organs if organ != BACKGROUND]
    subsets += [organs[:6], tuple(reversed(organs[:6])), organs[::3]]
    for classes in subsets:
        part = describe(template, classes, Recorded(store)).descriptions
        left_out = 0
        for item in part.descriptions:
            original = full.get(item.organ, item.aspect)
            inside = tuple(claim for claim in original.claims if claim.other in classes)
            assert (item.text, item.claims) == (original.text, inside)
            assert item.origin.claims_left_out == len(original.claims) - len(inside)
            left_out += item.origin.claims_left_out
        assert part.claims_left_out == left_out
        assert part.edited == ()  # an answer in part is still the answer


def test_the_answers_of_a_subset_are_a_store_of_their_own():
    template, store = shipped("paper")
    classes = (BACKGROUND, "liver", "spleen")
    part = describe(template, classes, Recorded(store))
    again = describe(template, classes, Recorded(part.store)).descriptions
    assert again.digest == part.descriptions.digest
    assert (again.claims_left_out, part.descriptions.claims_left_out > 0) == (0, True)


def test_an_organ_that_no_answer_describes_is_still_refused():
    template, store = shipped("paper")
    first = store.answers[2]
    claims = [{"relation": "left_of", "other": "splen"}]
    wrong = first.model_copy(update={"answer": {**first.answer, "claims": claims}})
    answers = tuple(wrong if item is first else item for item in store.answers)
    misspelled = store.model_copy(update={"answers": answers})
    with pytest.raises(UnusableAnswers, match="'splen' is not one of the other organs"):
        describe(template, (BACKGROUND, first.organ, "liver"), Recorded(misspelled))
