"""The page of a study: what is in it, what is escaped, and where its marks stand."""

import re

import pytest

from pipeline.report.study_page import forest, render_study

CONTENT = {
    "title": "Does <b>text</b> count?",
    "question": "Does it?",
    "notes": ["dice in percent"],
    "headings": ("arm", "runs"),
    "rows": [["text & more", "3"]],
    "organ_headings": ("organ", "text & more"),
    "organ_rows": [["liver", "80.0"]],
    "bank_headings": ("measure", "paper"),
    "bank_rows": [["words", "34.5"]],
    "baseline": "shuffled",
    "margin": 1.0,
    "components": [("wording", 0.9), ("residual", 0.1)],
    "differences": [("text", 2.0, 1.0, 3.0), ("random", -0.5, None, None), ("lost", None, 1, 2)],
}


def test_the_page_holds_its_tables_and_loads_nothing():
    page = render_study(CONTENT)
    for words in ("text &amp; more", "liver", "34.5", "90 %", "Difference from shuffled"):
        assert words in page
    assert "<b>text" not in page
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_marks_stand_where_their_numbers_are():
    places = forest(CONTENT["differences"], 1.0)
    first, second = places["marks"]
    assert first["low"] < first["mean"] < first["high"]
    scale = first["high"] - first["mean"]  # of one percent
    assert first["mean"] - places["zero"] == pytest.approx(2 * scale, abs=0.2)
    assert places["zero"] - second["mean"] == pytest.approx(0.5 * scale, abs=0.2)
    assert places["margin"][1] - places["zero"] == pytest.approx(scale, abs=0.2)
    assert (second["low"], len(places["marks"])) == (None, 2)
    assert forest([("text", None, None, None)], 1.0) is None


@pytest.mark.parametrize(
    ("largest", "margin", "label"),
    [
        (25.5, 1.0, "+20"),
        (3.0, 1.0, "+2"),
        (0.1, 0.01, "+0.1"),
        (0.0, 1.0, "+1"),
        (60.0, 1.0, "+50"),
    ],
)
def test_ticks_are_round_and_stand_at_their_number(largest, margin, label):
    places = forest([("text", largest, None, None)], margin)
    (_, least), (zero, middle), (tick, most) = places["ticks"]
    assert (least, middle, most) == (label.replace("+", "-"), "0", label)
    scale = (places["margin"][1] - places["zero"]) / margin
    assert tick - zero == pytest.approx(float(label) * scale, rel=0.05)


def test_a_study_of_texts_has_a_page_without_arms():
    names = ("headings", "rows", "organ_headings", "organ_rows", "components")
    empty = {name: [] for name in names}
    page = render_study(CONTENT | empty | {"differences": []})
    assert "Texts" in page
    assert "Arms" not in page
    assert "Shares of variance" not in page
