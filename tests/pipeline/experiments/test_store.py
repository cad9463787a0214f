"""The store: what counts as done, what is damaged, and who may make a stage."""

import json

import pytest

from pipeline.experiments.stages import Stage
from pipeline.experiments.store import Store

STAGE = Stage("encode", {"encoder": "hashing:8"}, ("encode",))


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "store")
    made.create()
    return made


def finished(store, stage=STAGE, content=b"vectors"):
    store.folder(stage).mkdir(parents=True)
    store.product(stage).write_bytes(content)
    store.finish(stage, 1.5, 100.0)
    return store.product(stage)


def test_a_stage_is_done_when_all_its_files_are_as_they_were_recorded(store):
    assert store.state(STAGE) == "missing"
    product = finished(store)
    assert store.state(STAGE) == store.state(STAGE, thorough=True) == "done"
    product.write_bytes(b"vectorz")
    assert store.state(STAGE) == "done", "sizes alone are equal"
    assert store.state(STAGE, thorough=True) == "damaged"
    product.write_bytes(b"short")
    assert store.state(STAGE) == "damaged"
    product.unlink()
    assert store.state(STAGE) == "removed"


def test_a_failed_stage_keeps_its_reason_and_an_unreadable_record_is_none(store):
    store.fail(STAGE, "no key", 0.1)
    assert store.state(STAGE) == "failed"
    assert store.record(STAGE).error == "no key"
    (store.folder(STAGE) / "stage.json").write_text("[" * 100_000)
    assert store.record(STAGE) is None
    assert store.state(STAGE) == "missing"


def test_a_store_of_a_newer_version_and_a_folder_of_something_else_are_refused(tmp_path):
    (tmp_path / "store.json").write_text(json.dumps({"format_version": 2}))
    with pytest.raises(ValueError, match="format 2; this version reads format 1"):
        Store(tmp_path)
    (tmp_path / "store.json").rename(tmp_path / "thesis.tex")
    with pytest.raises(ValueError, match="expected a store or an empty folder"):
        Store(tmp_path)


def test_one_process_at_a_time_makes_a_stage(store):
    with store.lock(STAGE) as first, Store(store.root).lock(STAGE) as second:
        assert (first, second) == (True, False)
    with store.lock(STAGE) as third:
        assert third
