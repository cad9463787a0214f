"""Answer stores: handed on, replayed, refused where they do not belong; the shipped ones."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from knowledge.asking.assembly import literal
from knowledge.asking.describe import describe
from knowledge.bank.encoding import encode
from knowledge.descriptions import DescriptionSet
from knowledge.encoders.hashing import Hashing
from knowledge.providers.base.answer_store import AnswerCache, AnswerStore, CachedAnswer
from knowledge.providers.base.provider import ProviderOptions
from knowledge.providers.base.usage import Usage
from knowledge.providers.openai_compatible import OpenAICompatible
from knowledge.providers.recorded import Recorded
from knowledge.questions.pictures import find_pictures
from knowledge.questions.template import Template, Wording
from segmentation.data.descriptor import DatasetSpec
from tests.support.chat_server import Body, Reply, chat_server, good_answer
from tests.support.paths import ROOT

CLASSES = ("background", "lamp", "door")
WORDING = Wording(title="t", aspects={"place": "Where is the {organ}?"})
RECORDED = [path.stem for path in sorted((ROOT / "data" / "answers").glob("*.json"))]
LISTS = ["amos", "synapse", "phantom"]


def test_a_store_of_live_answers_is_replayed_without_a_server(tmp_path: Path) -> None:
    template = Template("test", WORDING)
    with chat_server() as server:
        options = ProviderOptions(model="tiny", base_url=server.url)
        live = describe(template, CLASSES, OpenAICompatible(options, "key"), samples=2)
    live.store.write(tmp_path / "store.json")
    options = ProviderOptions(answers=tmp_path / "store.json")
    replayed = describe(template, CLASSES, Recorded.from_options(options), samples=2)
    assert replayed.descriptions.digest == live.descriptions.digest
    assert replayed.descriptions.totals.calls == 0


def test_who_answered_and_when_stays_with_an_answer_up_to_the_bank(tmp_path: Path) -> None:
    def dated(body: Body) -> Reply:
        reply = good_answer(body)
        choice = {"index": 0, "message": {"content": reply.content}, "finish_reason": "stop"}
        raw = {"id": "x", "object": "chat.completion", "created": 0, "model": "tiny-2025-01-31"}
        raw |= {"choices": [choice], "usage": reply.usage, "system_fingerprint": "fp_1"}
        return Reply(raw=json.dumps(raw).encode())

    wording = WORDING.model_copy(update={"variables": {"words": "20"}})
    template, cache = Template("test", wording), AnswerCache(tmp_path / "cache")
    before = datetime.now(UTC).replace(microsecond=0)
    with chat_server(dated) as server:
        options = ProviderOptions(model="tiny", base_url=server.url, temperature=0.3, seed=7)
        live = describe(template, CLASSES, OpenAICompatible(options, "key"), cache=cache)
        kept = describe(template, CLASSES, OpenAICompatible(options, "key"), cache=cache)
    live.store.write(tmp_path / "store.json")
    options = ProviderOptions(answers=tmp_path / "store.json")
    replayed = describe(template, CLASSES, Recorded.from_options(options))
    for made in (live, kept, replayed):
        origin = made.descriptions.get("lamp", "place").origin
        assert (origin.model, origin.service) == ("tiny-2025-01-31", "fp_1")
        assert before <= datetime.fromisoformat(origin.date) <= datetime.now(UTC)
        bank = encode(made.descriptions, Hashing(16)).origin
        assert (bank["models"], bank["services"]) == (["tiny-2025-01-31"], ["fp_1"])
        assert bank["variables"] == {"words": "20"}
        assert [each["seed"] for each in bank["parameters"]] == [7]
        assert bank["answered"][0] <= origin.date <= bank["answered"][1]
    assert kept.descriptions == live.descriptions


def test_a_store_survives_another_order_and_a_shorter_list(tmp_path: Path) -> None:
    template = Template("test", WORDING)
    with chat_server() as server:
        options = ProviderOptions(model="tiny", base_url=server.url)
        store = describe(template, CLASSES, OpenAICompatible(options, "key")).store
    made = describe(template, ("background", "door"), Recorded(store)).descriptions
    assert made.classes == ("background", "door")


def test_answers_to_another_template_are_refused() -> None:
    store = AnswerStore.read(ROOT / "data" / "answers" / "paper.json")
    other = Template("other", WORDING)
    with pytest.raises(ValueError, match=r"answers template 'paper' \(.*not 'other' \("):
        describe(other, CLASSES, Recorded(store, "paper.json"))


def test_an_organ_without_an_answer_is_named() -> None:
    template = Template.read(ROOT / "prompts" / "paper.toml")
    store = AnswerStore.read(ROOT / "data" / "answers" / "paper.json")
    with pytest.raises(LookupError, match=r"no recorded answer for 'lamp'.*there is background"):
        describe(template, CLASSES, Recorded(store))


@pytest.mark.parametrize("wording", RECORDED)
@pytest.mark.parametrize("name", LISTS)
def test_the_shipped_answers_are_valid_for_every_shipped_list(name: str, wording: str) -> None:
    template = Template.read(ROOT / "prompts" / f"{wording}.toml")
    classes = DatasetSpec.read(ROOT / "data" / f"{name}.toml").classes
    store = AnswerStore.read(ROOT / "data" / "answers" / f"{wording}.json")
    made = describe(template, classes, Recorded(store)).descriptions
    assert made.classes == classes
    texts = [item.text for item in made.descriptions]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("wording", RECORDED)
def test_the_shipped_answers_name_the_right_side(wording: str) -> None:
    store = AnswerStore.read(ROOT / "data" / "answers" / f"{wording}.json")
    for item in store.answers:
        assert isinstance(item.answer, dict)
        side, _, rest = item.organ.partition(" ")
        if side in ("left", "right"):
            assert f"The {side} {rest}" in item.answer["text"], item.organ


def test_a_description_file_that_lacks_an_organ_is_refused(tmp_path: Path) -> None:
    made = literal(Template("test", WORDING), CLASSES)
    raw = made.model_dump(mode="json")
    raw["descriptions"].pop()
    (tmp_path / "d.json").write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=r"d\.json: .*missing door/place"):
        DescriptionSet.read(tmp_path / "d.json")


def test_descriptions_come_back_from_their_file_unchanged(tmp_path: Path) -> None:
    made = literal(Template("test", WORDING), CLASSES)
    made.write(tmp_path / "d.json")
    again = DescriptionSet.read(tmp_path / "d.json")
    assert again == made
    assert again.digest == made.digest
    with pytest.raises(LookupError, match=r"'window'.*there is background, lamp, door"):
        again.get("window", "place")


def test_files_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    raw = literal(Template("test", WORDING), CLASSES).model_dump(mode="json")
    (tmp_path / "d.json").write_text(json.dumps(raw | {"format_version": 99, "new": 1}))
    with pytest.raises(ValueError, match=r"format 99.*update tak-seg"):
        DescriptionSet.read(tmp_path / "d.json")
    store = json.loads((ROOT / "data" / "answers" / "terse.json").read_text())
    (tmp_path / "s.json").write_text(json.dumps(store | {"format_version": 2, "new": 1}))
    with pytest.raises(ValueError, match=r"answers of format 2.*update tak-seg"):
        AnswerStore.read(tmp_path / "s.json")
    (tmp_path / "renderings.json").write_text('{"format_version": 2, "new": 1}')
    with pytest.raises(ValueError, match=r"renderings of format 2.*update tak-seg"):
        find_pictures(tmp_path, CLASSES)


def test_a_damaged_cache_entry_counts_as_absent(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    answer = CachedAnswer(raw="x", model="m", output="text", attempts=1, usage=Usage(calls=1))
    cache.put("ab12", answer)
    assert cache.get("ab12") == answer
    next(tmp_path.rglob("*.json")).write_text('{"raw": "x"')
    assert cache.get("ab12") is None
