"""Thoughts in every wrapper that models are known to write."""

import json

import pytest

from knowledge.providers.base.find_json import InvalidAnswer, find_json
from knowledge.providers.base.thoughts import MARKS, without_thoughts
from knowledge.questions.answer_format import read_answer

DRAFT = json.dumps(
    {"organ": "liver", "text": "A draft that must not stand.", "claims": [], "attributes": []}
)
FINAL = DRAFT.replace("A draft that must not stand.", "The liver lies on the right.")
HARMONY = "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>{}"


@pytest.mark.parametrize("marks", MARKS)
@pytest.mark.parametrize("form", ["{0}{2}{1}{3}", "{2}{1}{3}", "{0} x {0}{2}{1} y {2}{1}{3}"])
def test_the_answer_after_thoughts_is_read_and_drafts_in_them_are_not(marks, form):
    text = form.format(*marks, f"Hm. {DRAFT}", FINAL)
    assert read_answer(text, "text", "liver", ("liver",)).text == "The liver lies on the right."
    upper = form.format(marks[0].upper(), marks[1].upper(), DRAFT, FINAL)
    assert json.loads(without_thoughts(upper)) == json.loads(FINAL)


@pytest.mark.parametrize("marks", MARKS)
def test_thoughts_that_were_cut_off_are_no_answer(marks):
    with pytest.raises(InvalidAnswer, match="thoughts and nothing else"):
        read_answer(f"{marks[0]}Hm. {DRAFT}", "text", "liver", ("liver",))


def test_of_harmonys_channels_the_final_one_counts():
    text = HARMONY.format(f"We need {DRAFT}", f"{FINAL}<|return|>")
    assert json.loads(without_thoughts(text)) == json.loads(FINAL)
    alone = HARMONY.partition("<|end|>")[0].format(DRAFT)
    assert without_thoughts(alone) == ""


def test_text_without_marks_stays_as_it_is():
    text = "The liver (a < b > c) lies [1] on the right.\n"
    assert without_thoughts(text) == text


def test_the_last_whole_object_with_a_text_counts():
    assert find_json(f"First {DRAFT}, better: {FINAL} {{}}") == json.loads(FINAL)


def test_commas_before_closing_brackets_are_left_out_but_not_inside_strings():
    broken = '{"organ": "liver", "text": "ends, ] here, }", "claims": [], "attributes": ["a", ],}'
    assert find_json(broken) == {
        "organ": "liver", "text": "ends, ] here, }", "claims": [], "attributes": ["a"],
    }  # fmt: skip
