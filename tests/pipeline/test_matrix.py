"""`tak matrix`: wordings times models, resumed, with what fails said in the table."""

import json
from pathlib import Path

import pytest
from chat_server import Body, Reply, asked_organ, chat_server, good_answer, is_probe

from knowledge.answers import AnswerCache
from knowledge.bank import Bank
from knowledge.description import DescriptionSet
from pipeline.matrix import COLUMNS, Cells, run

OFFLINE = """
organs = "phantom"
templates = ["paper", "detailed", "terse", "class-name", "scan-of"]
encoder = "hashing:64"
models = [{ name = "shipped", provider = "recorded" }]
"""


def cells(folder: Path, text: str) -> Cells:
    (folder / "matrix.toml").write_text(text)
    return Cells(folder / "matrix.toml", AnswerCache(folder / "cache"))


def ignore(note: str) -> None:
    pass


def test_the_shipped_wordings_are_compared_with_no_key(tmp_path: Path) -> None:
    made = cells(tmp_path, OFFLINE)
    rows = {row.template: row for row in run(made, ignore)}
    assert list(rows) == ["paper", "detailed", "terse", "class-name", "scan-of"]
    assert all(row.note == "" and row.valid == 1.0 for row in rows.values())
    assert rows["class-name"].model == "none"
    assert rows["terse"].words < rows["detailed"].words
    assert rows["class-name"].words == pytest.approx(22 / 14)
    assert rows["paper"].problems == 0
    bank = Bank.read(tmp_path / "matrix" / "paper-shipped.h5")
    described = DescriptionSet.read(tmp_path / "matrix" / "paper-shipped.json")
    assert bank.description_digest == described.digest
    header, *lines = (tmp_path / "matrix" / "table.csv").read_text().splitlines()
    assert header == ",".join(COLUMNS)
    assert len(lines) == 5
    assert len(json.loads((tmp_path / "matrix" / "table.json").read_text())) == 5


def test_live_models_are_asked_once_and_a_failing_one_does_not_stop_the_others(
    tmp_path: Path,
) -> None:
    def behave(body: Body) -> Reply:
        bad = body["model"] == "bad" and not is_probe(body) and asked_organ(body) == "lunate"
        return Reply("no idea") if bad else good_answer(body)

    (tmp_path / "hand.toml").write_text('organs = ["scaphoid", "lunate"]')
    with chat_server(behave) as server:
        text = f"""
organs = "hand.toml"
templates = ["terse"]
encoder = "hashing:16"
samples = 2
attempts = 2
[[models]]
name = "bad"
model = "bad"
base_url = "{server.url}"
[[models]]
name = "good"
model = "good"
base_url = "{server.url}"
"""
        bad, good = run(cells(tmp_path, text), ignore)
        asked = len(server.questions)
        again_bad, again_good = run(cells(tmp_path, text), ignore)
        assert len(server.questions) == asked + 2 * 2 * 2  # lunate, twice, two attempts each
    assert bad.valid == pytest.approx(8 / 12)
    assert "no usable answer about lunate" in bad.note
    assert good.note == ""
    assert good.word_agreement == 1.0
    assert good.calls == 13
    assert again_good == good
    assert again_bad.note == bad.note
    assert not (tmp_path / "matrix" / "terse-bad.json").exists()


@pytest.mark.parametrize(
    ("before", "after", "error", "message"),
    [
        ("organs", "organ", ValueError, "unknown key 'organ'"),
        ('"terse"', '"trese"', LookupError, "no 'trese' among prompts"),
        ("hashing:64", "hashing:x", ValueError, "what follows the colon is a width"),
        ("hashing:64", "hash", LookupError, "no 'hash' in knowledge.encoders"),
        ("[{", '[{ name = "shipped" }, {', ValueError, "two models have the same name"),
        ("provider", "provder", ValueError, r"models\.0.*provder"),
    ],
)
def test_a_mistake_in_the_file_is_found_before_anybody_is_asked(
    tmp_path: Path, before: str, after: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        cells(tmp_path, OFFLINE.replace(before, after))


def test_a_wording_without_recorded_answers_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('title = "m"\n[aspects]\nplace = "Where is {organ}?"\n')
    text = OFFLINE.replace('"terse"', '"mine.toml"')
    rows = {row.template: row for row in run(cells(tmp_path, text), ignore)}
    assert "no recorded answers for template 'mine'" in rows["mine"].note
    assert rows["paper"].note == ""
