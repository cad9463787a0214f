"""The schema of a study: contradictions are refused with their key."""

import pytest

from knowledge.common.models import checked
from pipeline.experiments.study_file import StudyFile

SMALL = {"title": "toy", "data": {"phantom": {"labeled": 2}}}


def read(**changes):
    return checked({**SMALL, **changes}, StudyFile, "study.toml")


def test_a_title_and_data_are_enough():
    study = read()
    assert (study.seeds, study.draws, study.until) == ((0,), (0,), "scores")
    assert study.data.scans


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {}}, 'expected either root or phantom, or until = "bank"'),
        ({"data": {"root": "x", "phantom": {}}}, "expected either root or phantom, got both"),
        ({"data": {}, "until": "bank"}, "expected descriptor, root or phantom"),
        ({"data": {"descriptor": "amos"}, "until": "bank", "seeds": [1, 2]}, "remove seeds"),
        ({"data": {"descriptor": "amos"}, "until": "bank", "check": True}, "claims on scans"),
        ({"axes": {"loss": []}}, "loss is empty"),
        ({"seeds": [1, 1]}, "seeds lists a value twice: 1, 1"),
        ({"paired": {"a": [1, 2], "b": [1]}}, "of equal length"),
        ({"arms": [{"name": "a"}, {"name": "a"}]}, "every arm needs a unique name"),
        ({"until": "scorse"}, "did you mean scores"),
        ({"seed": [1]}, "unknown key 'seed'; did you mean seeds"),
        ({"statistics": {"basline": "x"}}, "did you mean baseline"),
    ],
)
def test_a_contradiction_is_refused_with_its_key(changes, message):
    with pytest.raises(ValueError, match=rf"study\.toml: .*{message}"):
        read(**changes)
