"""`tak matrix`: wordings times models, resumed, with what fails said in the table."""

import json
from pathlib import Path

import pytest

from knowledge.bank.bank import Bank
from knowledge.descriptions import DescriptionSet
from knowledge.providers.base.answer_store import AnswerCache
from pipeline.experiments.matrix import COLUMNS, Cells, run
from tests.support.chat_server import Body, Reply, asked_organ, chat_server, good_answer, is_probe

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


def limited(folder: Path, url: str, limits: str) -> Cells:
    """Two models, seven calls each of 100 + 20 tokens; a call may take some 2500."""
    (folder / "hand.toml").write_text('organs = ["scaphoid", "lunate"]')
    price = "input_usd = 1000\noutput_usd = {}\n"
    cheap, dear = f"[models.cheap]\n{price.format(0)}", f"[models.dear]\n{price.format(10_000)}"
    (folder / "prices.toml").write_text(f'date = "today"\n{cheap}{dear}')
    models = "".join(
        f'[[models]]\nname = "{name}"\nmodel = "{name}"\nbase_url = "{url}"\n'
        for name in ("cheap", "dear")
    )
    fixed = 'organs = "hand.toml"\ntemplates = ["terse"]\nencoder = "hashing:16"\nconcurrency = 3\n'
    return cells(folder, f'{fixed}prices = "prices.toml"\n{limits}\n{models}')


# A call may cost 1.7 dollars of the cheap model's, ten more of the dear one's; 0.1 and 0.3 is true.
@pytest.mark.parametrize("limits", ["max_tokens_total = 3600", "max_cost = 11.3"])
def test_limits_hold_over_all_cells_and_a_second_run_goes_on(tmp_path: Path, limits: str) -> None:
    with chat_server() as server:
        made = limited(tmp_path, server.url, limits)
        first, second = run(made, ignore)
        assert first.note == ""
        assert first.calls == 7
        assert "stopped before the limit of" in second.note
        assert second.valid is None
        assert 7 < made.spent.calls == len(server.requests) < 14
        assert made.spent.tokens <= 3600
        asked = [body["model"] for body in server.questions]
        again = limited(tmp_path, server.url, limits)
        assert [row.note for row in run(again, ignore)] == ["", ""]
        assert len(server.questions) == 12
        assert {body["model"] for body in server.questions[len(asked) :]} == {"dear"}


def test_a_limit_on_the_cost_needs_every_price_before_anybody_is_asked(tmp_path: Path) -> None:
    limits = 'max_cost = 1.0\n[[models]]\nname = "free"\nmodel = "free"'
    with pytest.raises(ValueError, match=r"price of model 'free': .*does not list 'free'"):
        limited(tmp_path, "http://127.0.0.1:9/v1", limits)


@pytest.mark.parametrize(
    ("before", "after", "error", "message"),
    [
        ("organs", "organ", ValueError, "unknown key 'organ'"),
        ('"terse"', '"trese"', LookupError, "no 'trese' among prompts"),
        ("hashing:64", "hashing:x", ValueError, "expected a width such as 512"),
        ("hashing:64", "hash", LookupError, "no encoder 'hash'; there is hashing"),
        ("[{", '[{ name = "shipped" }, {', ValueError, "two models have the same name"),
        ("provider", "provder", ValueError, r"models\.0.*provder"),
        ('"detailed"', '"paper"', ValueError, r"two cells would be written to paper-shipped\.h5"),
        ("encoder", 'long_text = "cut"\nencoder', LookupError, "no long_text 'cut'; there is err"),
        ("encoder", 'long_text = "shorten"\nencoder', LookupError, "no long_text 'shorten'"),
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
