"""The model card: facts of the metadata, scores in percent, limits."""

import math

import pytest

from pipeline.results.scores import METRICS, Evaluation
from pipeline.runs.bundles.model_card import model_card

METADATA = {
    "name": "TAK", "description": "TAK, trained on toys", "version": "0.2", "bank_digest": "abc",
    "dataset": {
        "title": "Toys", "name": "toy", "modality": "CT", "window_hu": [-100.0, 250.0],
        "grid": {"spacing_mm": [1.5, 1.5, 2.0]},
        "organs": [{"label": 1, "name": "liver", "size": "large"}],
    },
    "run": {
        "method": {"name": "magicnet"}, "loss": {"name": "ga"}, "head": {"name": "text"},
        "alignment": {"name": "contrast"}, "seed": 3,
    },
    "step": 7, "checkpoint": "best", "predictor": "student", "trained_on": "toy; split 5p",
    "weights_sha256": "f00",
}  # fmt: skip


def scored(*dice):
    cases = {str(n): {"liver": dict.fromkeys(METRICS, value)} for n, value in enumerate(dice)}
    return Evaluation(
        data_set="toy", protocol="toy", part="test", checkpoint="best.pt", step=7,
        predictor="student", tolerance_mm=1.0, cases=cases,
        groups={"all": ("liver",), "large": ("liver",), "small": ()},
    )  # fmt: skip


def test_the_card_states_data_training_and_limits():
    card = model_card(METADATA, {}, None)
    for words in (
        "# TAK", "| 1 | liver | large |", "window -100 to 250 HU", "protocol toy; split 5p",
        "1.5 x 1.5 x 2 mm", "seed 3", "SHA-256 `f00`", "bank `abc`", "Not evaluated", "## Limits",
    ):  # fmt: skip
        assert words in card


@pytest.mark.parametrize(
    ("dice", "row"), [((0.5, 0.7), "60.0 | 14.1"), ((0.5,), "50.0 | -"), ((math.nan,), "- | -")]
)
def test_scores_are_in_percent_and_a_dash_if_unknown(dice, row):
    card = model_card(METADATA, {"evaluation-test.json": scored(*dice)}, None)
    assert f"| liver | {row} |" in card
    assert "| mean of small | - | - |" in card


def test_texts_and_their_absence_are_stated():
    texts = {"encoder": "hashing:8", "origin": {"model": "toy", "cases": ["a", "b"]}}
    card = model_card(METADATA, {}, texts)
    assert "encoder: `hashing:8`" in card
    assert "cases: a, b" in card
    assert "Caveat" not in card
    assert "neither head nor alignment reads text" in model_card(
        {**METADATA, "bank_digest": None}, {}, None
    )


def test_edited_texts_are_a_caveat_of_the_card():
    origin = {"edited": ["liver, shape"], "supported_share": 1.0, "usage": {"calls": 2}}
    card = model_card(METADATA, {}, {"encoder": "hashing:8", "origin": origin})
    assert "> **Caveat.** Edited by hand after the answer: liver, shape." in card
    assert "- usage: calls 2" in card
