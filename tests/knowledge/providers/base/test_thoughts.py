"""Thoughts in every wrapper that models are known to write."""

import json

import pytest

from knowledge.providers.base.find_json import InvalidAnswer, find_json
from knowledge.providers.base.thoughts import unknown_mark, without_thoughts
from knowledge.questions.answer_format import read_answer

DRAFT = json.dumps(
    {"organ": "liver", "text": "A draft that must not stand.", "claims": [], "attributes": []}
)
FINAL = DRAFT.replace("A draft that must not stand.", "The liver lies on the right.")
MARKS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ('<thinking duration="3">', "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<|think|>", "<|/think|>"),
    ("<seed:think>", "</seed:think>"),
    ("<scratchpad>", "</scratchpad>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("Here is my thought process:", "Here is my response:"),
]
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


def test_the_final_channel_is_read_with_and_without_harmonys_marks():
    final = "<|channel|>final <|constrain|>json<|message|>"
    text = f"<|channel|>analysis<|message|>Hm. {DRAFT}<|end|><|start|>assistant{final}{FINAL}"
    assert json.loads(without_thoughts(text)) == json.loads(FINAL)
    assert json.loads(without_thoughts(f"analysisWe need {DRAFT}assistantfinal{FINAL}")) == (
        json.loads(FINAL)
    )
    assert without_thoughts(f"analysisWe need {DRAFT}") == ""


def test_thoughts_may_mention_marks_of_another_kind():
    text = f"<think>Not [THINK], not <reasoning>. {DRAFT}</think>{FINAL}"
    assert json.loads(without_thoughts(text)) == json.loads(FINAL)


@pytest.mark.parametrize(
    "text",
    [
        "<answer>The liver is large.</answer>",
        "<|START_RESPONSE|>The liver is large.<|END_RESPONSE|>",
        "<think>Hm.</think><|begin_of_box|>The liver is large.<|end_of_box|>",
    ],
)
def test_marks_around_the_answer_are_no_part_of_it(text):
    assert read_answer(text, "plain", "liver", ("liver",)).text == "The liver is large."


@pytest.mark.parametrize(
    "text",
    [
        "<musing>About the liver.</musing> The liver is large.",
        "<|muse|>About the liver.<|/muse|> The liver is large.",
        "[MUSING] About the liver. [/MUSING] The liver is large.",
        "**Thinking process:** the user asks about the liver. The liver is large.",
        "Reasoning\nThe user asks about the liver.",
    ],
)
def test_prose_with_marks_or_headings_of_unknown_thoughts_is_refused(text):
    with pytest.raises(InvalidAnswer, match="without '"):
        read_answer(text, "plain", "liver", ("liver",))


@pytest.mark.parametrize(
    "text",
    [
        "The liver (a < b > c) is < 5 mm [1] from [CT] the wall.",
        "The analysis of shape: a wedge. Reasoning helps: it is the liver.",
        "Thinking of a wedge, one sees the liver.",
    ],
)
def test_ordinary_prose_holds_no_marks(text):
    assert unknown_mark(text) == ""
    assert read_answer(text, "plain", "liver", ("liver",)).text == text


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
