"""Studies of texts: wordings times models, with no training, in one table."""

import csv
import json

import pytest

from knowledge.bank.bank import Bank
from knowledge.descriptions import DescriptionSet
from pipeline.experiments.engines.run_study import Pool, Runner
from pipeline.experiments.planning import plan
from pipeline.experiments.results.banks import bank_labels, bank_rows
from pipeline.experiments.results.study_results import collect
from pipeline.experiments.store import Store
from pipeline.experiments.study import Study
from tests.support.chat_server import Body, Reply, asked_organ, chat_server, good_answer, is_probe
from tests.support.study_runs import Recorder, tak_study

OFFLINE = """
title = "Wordings"
until = "bank"
[data]
descriptor = "phantom"
[fixed]
encoder = "hashing:64"
[axes]
wording = ["paper", "detailed", "terse", "class-name", "scan-of"]
"""


def run(folder, text, jobs=1):
    """Run a study in this process; gives its plan and store."""
    (folder / "study.toml").write_text(text)
    store = Store(folder / "store")
    store.create()
    planned = plan(Study.read(folder / "study.toml"), store)
    Runner(planned, store, Pool(jobs), Recorder()).run()
    return planned, store


def test_the_shipped_wordings_are_compared_with_no_key_and_read_at_80_columns(tmp_path):
    (tmp_path / "study.toml").write_text(OFFLINE)
    process = tak_study("study.toml", "--jobs", 1, cwd=tmp_path, COLUMNS="80")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    table = [line for line in output.splitlines() if line.startswith(("│", "┃"))]
    assert max(map(len, table)) <= 80
    assert "…" not in "".join(table)
    for name in ("paper,", "class-name,", "scan-of, none", "mean cosine"):
        assert name in output
    with (tmp_path / "study" / "banks.csv").open() as file:
        rows = {row["wording"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["paper", "detailed", "terse", "class-name", "scan-of"]
    assert {row["note"] for row in rows.values()} == {""}
    assert rows["class-name"]["model"] == "none"
    assert float(rows["terse"]["words"]) < float(rows["detailed"]["words"])
    assert float(rows["class-name"]["words"]) == pytest.approx(22 / 14)
    assert rows["paper"]["problems"] == "0"
    content = json.loads((tmp_path / "study" / "study.json").read_text())
    assert len(content["banks"]) == 5
    assert "| words | 34.5 |" in (tmp_path / "study" / "study.md").read_text()


def test_a_row_is_of_the_bank_and_the_descriptions_in_the_store(tmp_path):
    planned, store = run(tmp_path, OFFLINE.replace('"detailed", "terse", ', ""))
    cell = planned.cells[0]
    bank, described = (store.product(stage) for stage in (cell.bank, cell.describe))
    row = bank_rows(planned, store)[0]
    assert Bank.read(bank).description_digest == DescriptionSet.read(described).digest
    assert row.tokens == pytest.approx(float(Bank.read(bank).token_counts.mean()))


def test_live_models_are_asked_once_and_a_failing_one_does_not_stop_the_others(tmp_path):
    def behave(body: Body) -> Reply:
        bad = body["model"] == "bad" and not is_probe(body) and asked_organ(body) == "lunate"
        return Reply("no idea") if bad else good_answer(body)

    (tmp_path / "hand.toml").write_text('organs = ["scaphoid", "lunate"]')
    with chat_server(behave) as server:
        arms = "".join(
            f'[[arms]]\nname = "{name}"\nmodel = "{name}"\nheader = "x-key=secret-{name}"\n'
            for name in ("bad", "good")
        )
        text = f"""
title = "Hand"
until = "bank"
[data]
descriptor = "hand.toml"
[fixed]
wording = "terse"
provider = "openai_compatible"
base_url = "{server.url}"
encoder = "hashing:16"
samples = 2
attempts = 2
{arms}"""
        planned, store = run(tmp_path, text)
        asked = len(server.questions)
        assert {sent.get("x-key") for sent in server.headers} == {"secret-bad", "secret-good"}
        again, _ = run(tmp_path, text)
        assert len(server.questions) == asked + 2 * 2 * 2  # lunate, twice, two attempts each
    bad, good = bank_rows(again, store)
    assert "no usable answer about lunate" in bad.note
    assert "4 of 12 questions" in bad.note
    assert (good.note, good.word_agreement, good.calls) == ("", 1.0, 13)
    assert bank_labels([bad, good]) == ["bad", "good"]
    results = collect(planned, store)
    assert list(results.missing) == ["bad"]
    assert results.scores is None
    written = [path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert not any(b"secret" in content for content in written), "headers may be keys"


def test_claims_are_tested_on_scans_as_they_are(tmp_path, population):
    data = f'descriptor = "phantom"\nroot = "{population}"'
    text = OFFLINE.replace('descriptor = "phantom"', data).replace(
        'until = "bank"', 'until = "bank"\ncheck = true'
    )
    planned, store = run(tmp_path, text.replace('"detailed", "terse", "class-name", "scan-of"', ""))
    assert {stage.kind for stage in planned.stages} == {"describe", "encode", "check"}
    (row,) = bank_rows(planned, store)
    assert 0.5 < row.supported <= 1
    assert row.contradicted is not None


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"hashing:64"', '"hashing:64"\nmethod = "cps"', "no stage of a study of texts reads 'm"),
        ('title = "Wordings"', 'title = "W"\nseeds = [1]', "trains nothing: remove seeds"),
        ('descriptor = "phantom"', "", "data: expected descriptor, root or phantom"),
        ('until = "bank"', "", 'expected either root or phantom, or until = "bank"'),
        ('until = "bank"', 'until = "bank"\ncheck = true', "check: tests claims on scans"),
        ('"hashing:64"', '"hashing:64"\nbank = "geometry"', "data: no scans; give data.root"),
        ('"hashing:64"', '"hashing:64"\nmodel = "gpt"', "cell paper: no recorded answers of 'gpt'"),
    ],
)
def test_a_study_of_texts_that_cannot_be_is_refused(tmp_path, before, after, message):
    (tmp_path / "study.toml").write_text(OFFLINE.replace(before, after, 1))
    with pytest.raises(ValueError, match=message):
        plan(Study.read(tmp_path / "study.toml"), Store(tmp_path / "store"))
