"""Tables of scores in the terminal: 80 columns, captions, percent and millimeters."""

import io
import math

import pytest
from rich.console import Console

from pipeline.results.scores import METRICS, Evaluation
from pipeline.scoring.comparison import differences
from pipeline.scoring.seeds import Scored
from pipeline.scoring.tables import comparison_table, score_table, sensitivity_table
from pipeline.scoring.text_sensitivity import Sensitivity

GROUPS = {"all": ("liver", "spleen"), "large": ("liver",), "small": ("spleen",)}


def evaluation(*dice, **changes):
    """Cases with the Dice of liver and spleen; other metrics hold the same numbers."""
    cases = {
        f"case_{number}": {
            organ: dict.fromkeys(METRICS, value)
            for organ, value in zip(GROUPS["all"], values, strict=True)
        }
        for number, values in enumerate(dice)
    }
    content = {
        "data_set": "toy", "protocol": "toy", "part": "test", "checkpoint": "best.pt", "step": 1,
        "predictor": "student", "tolerance_mm": 1.5, "cases": cases, "groups": GROUPS,
    }  # fmt: skip
    return Evaluation(**{**content, **changes})


ONE, OTHER = evaluation((0.5, 0.25), (0.7, math.nan)), evaluation((0.6, 0.5), (0.8, 0.5))


def printed(table):
    console = Console(width=80, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_scores_have_a_caption_that_names_part_cases_and_protocol():
    text = printed(score_table({"trained": ONE, "untrained": OTHER}))
    assert "test: mean ± deviation over 2 cases" in text
    assert "protocol toy" in text
    assert "at 1.5 mm" in text
    liver = next(line.split() for line in text.splitlines() if line.startswith(" liver"))
    assert liver == ["liver", "60.0±14", "60.0±14", "0.6±0.1", "0.6±0.1", "0", "70.0±14"]
    assert max(map(len, text.splitlines())) <= 80


def test_results_that_are_not_comparable_share_no_table():
    with pytest.raises(ValueError, match="part test and validation"):
        score_table({"one": ONE, "other": evaluation((0.6, 0.5), part="validation")})


def test_a_comparison_names_both_sides_and_what_it_left_out():
    one, other = Scored("magicnet", 1, ONE), Scored("tak", 1, OTHER)
    text = printed(comparison_table(one, other, "dice", differences(one, other)))
    assert "A is magicnet, B is tak" in text
    assert "+10.0" in text
    assert "Scored in one run alone and left out: 1." in " ".join(text.split())


def test_sensitivity_is_shown_as_a_loss_in_percent():
    figures = {"mean": Sensitivity(0.25, {"liver": 0.9, "spleen": math.nan},
                                   {"liver": 0.4, "spleen": math.nan})}  # fmt: skip
    text = printed(sensitivity_table(figures))
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert rows["liver"] == ["90.0", "-40.0"]
    assert rows["spleen"] == ["-", "-"]
    assert "25.0 %" in text
