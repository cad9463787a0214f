"""The truth of description sets: on phantom scans, and against themselves."""

import json
from pathlib import Path

import numpy as np
import pytest

from knowledge.asking.assembly import literal
from knowledge.asking.describe import describe
from knowledge.descriptions import Claim, DescriptionSet
from knowledge.grounding.claims import CheckReport, check, contradictions, problems, summarize
from knowledge.grounding.scene import ClaimVerdict, Scene
from knowledge.grounding.sides import mirror, stated_sides
from knowledge.providers.base.answer_store import AnswerCache, AnswerStore
from knowledge.providers.base.provider import ProviderOptions
from knowledge.providers.openai_compatible import OpenAICompatible
from knowledge.providers.recorded import Recorded
from knowledge.questions.template import Template, Wording
from segmentation.data.descriptor import DatasetSpec
from segmentation.imaging.volume import read_labels
from segmentation.phantom.population import Population, make_population
from tests.support.chat_server import (
    Body,
    Reply,
    asked_organ,
    chat_server,
    good_answer,
    is_probe,
    user_text,
)
from tests.support.paths import ROOT

RECORDED = [path.stem for path in sorted((ROOT / "data" / "answers").glob("*.json"))]
ORGANS = ("background", "left knob", "right knob", "hub")


def shipped(wording: str, classes: tuple[str, ...]) -> DescriptionSet:
    template = Template.read(ROOT / "prompts" / f"{wording}.toml")
    store = AnswerStore.read(ROOT / "data" / "answers" / f"{wording}.json")
    return describe(template, classes, Recorded(store)).descriptions


def changed(made: DescriptionSet, **claims: tuple[tuple[str, str, str], ...]) -> DescriptionSet:
    """A set of the organs above with these claims, by organ."""
    raw = made.model_dump(mode="json")
    for item in raw["descriptions"]:
        key = item["organ"].replace(" ", "_")
        item["samples"][0]["claims"] = [
            {"organ": one, "relation": relation, "other": other}
            for one, relation, other in claims.get(key, ())
        ]
    return DescriptionSet.model_validate(raw)


@pytest.fixture(scope="module")
def plain() -> DescriptionSet:
    return literal(Template("t", Wording(title="t", aspects={"place": "the {organ}"})), ORGANS)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, Scene]]]:
    """Scenes of a few made-up subjects, for each shipped organ list that can be drawn."""
    scenes = {}
    for name in ("phantom", "amos"):
        spec = DatasetSpec.read(ROOT / "data" / f"{name}.toml")
        folder = tmp_path_factory.mktemp(name)
        population = Population(labeled=3, unlabeled=0, validation=0, test=0, spacing_mm=6.0)
        make_population(spec, folder, population)
        scenes[name] = [
            (path.name, Scene(volume.voxels, volume.affine, spec.labels))
            for path in sorted((folder / "labelsTr").iterdir())
            for volume in [read_labels(path)]
        ]
    return scenes


@pytest.mark.parametrize("wording", RECORDED)
@pytest.mark.parametrize("name", ["phantom", "amos"])
def test_every_testable_claim_of_the_shipped_descriptions_is_supported(
    phantoms: dict[str, list[tuple[str, Scene]]], name: str, wording: str
) -> None:
    classes = DatasetSpec.read(ROOT / "data" / f"{name}.toml").classes
    report = check(shipped(wording, classes), phantoms[name])
    assert report.problems == ()
    assert [str(r.claim) for r in report.results if r.verdict == "contradicted"] == []
    assert report.supported_share == 1.0
    assert report.count("supported") >= 2 * (len(classes) - 1)


def test_a_description_with_left_and_right_exchanged_is_caught(
    phantoms: dict[str, list[tuple[str, Scene]]],
) -> None:
    classes = DatasetSpec.read(ROOT / "data" / "phantom.toml").classes
    text = shipped("paper", classes).model_dump_json()
    for old, new in (("left", "@"), ("right", "left"), ("@", "right")):
        text = text.replace(f'"relation":"{old}_of"', f'"relation":"{new}_of"')
    report = check(DescriptionSet.model_validate_json(text), phantoms["phantom"])
    sideways = [r for r in report.results if r.claim.relation in ("left_of", "right_of")]
    assert sideways
    assert {r.verdict for r in sideways} == {"contradicted"}
    assert report.supported_share is not None
    assert report.supported_share < 0.7
    assert any(
        "left and right exchanged: left kidney right_of right kidney" in problem
        for problem in report.problems
    )


def test_texts_of_paired_organs_that_were_swapped_are_caught() -> None:
    classes = DatasetSpec.read(ROOT / "data" / "phantom.toml").classes
    raw = shipped("paper", classes).model_dump(mode="json")
    texts = {(item["organ"], item["aspect"]): item["samples"][0] for item in raw["descriptions"]}
    one, other = texts["left kidney", "shape"], texts["right kidney", "shape"]
    one["text"], other["text"] = other["text"], one["text"]
    found = problems(DescriptionSet.model_validate(raw))
    assert any("left kidney, shape: the text names the right kidney" in line for line in found)


def test_sentences_that_say_the_opposite_of_their_claims_are_caught() -> None:
    made = shipped("paper", DatasetSpec.read(ROOT / "data" / "phantom.toml").classes)
    assert problems(made) == []
    raw = made.model_dump(mode="json")
    for item in raw["descriptions"]:
        sample = item["samples"][0]
        text = sample["text"].replace("left of", "@").replace("right of", "left of")
        sample["text"] = text.replace("@", "right of")
    found = problems(DescriptionSet.model_validate(raw))
    slip = "left and right exchanged: spleen, position: the text says right of the stomach"
    assert f"{slip}, a claim left_of" in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("To the left of the hub and the left knob.", {"hub": {"left"}, "left knob": {"left"}}),
        ("Right of hub, rim, and of the axle; below all.", {"hub": {"right"}, "rim": {"right"}}),
        ("Left of the hub, far to the right of the Rim", {"hub": {"left"}, "rim": {"right"}}),
        ("left of the hubcap, right of the middle, the left knob", {}),
        ("It lies left of the hub. It lies right of the hub.", {"hub": {"left", "right"}}),
    ],
)
def test_sides_are_found_in_sentences(text: str, expected: dict[str, set[str]]) -> None:
    assert stated_sides(text, "lever", ("hub", "rim", "left knob")) == expected
    assert stated_sides(text, "lever", ()) == {}


@pytest.mark.parametrize(
    "text",
    [
        "The lever is left of the hub.",
        "They lie left of the hub.",
        "Behind the rim, left of the hub.",
        "Lies behind the rim and the left knob, left of the hub.",
        "Below the rim, it lies left of the hub.",
        "The lever, which touches the rim, lies left of the hub.",
        "The rim is red but the lever is left of the hub.",
        "It lies left of the hub and the rim lies right of the hub.",
        "The rim lies right of the hub. The lever lies left of the hub.",
    ],
)
def test_a_side_counts_where_the_organ_is_the_subject(text: str) -> None:
    assert stated_sides(text, "lever", ("hub", "rim", "left knob")) == {"hub": {"left"}}


@pytest.mark.parametrize(
    "text",
    [
        "The rim lies left of the hub.",
        "Left of the hub lies the rim.",
        "It touches the rim, which lies left of the hub.",
        "Below the rim, the left knob lies left of the hub.",
        "The lever lies behind the rim, and the left knob lies left of the hub.",
        "The lever is red, while the rim is left of the hub.",
        "Its head lies left of the hub.",
        "The head of the lever lies left of the hub.",
        "The lever's head lies left of the hub.",
    ],
)
def test_what_is_said_of_another_organ_or_of_a_part_does_not_count(text: str) -> None:
    assert stated_sides(text, "lever", ("hub", "rim", "left knob")) == {}


def test_claims_that_cannot_all_be_true_are_named(plain: DescriptionSet) -> None:
    assert problems(plain) == []
    both = changed(
        plain,
        left_knob=(("left knob", "superior_to", "hub"),),
        hub=(("hub", "superior_to", "left knob"),),
    )
    assert len(problems(both)) == 1
    circle = changed(
        plain,
        left_knob=(("left knob", "superior_to", "hub"),),
        hub=(("hub", "superior_to", "right knob"),),
        right_knob=(("right knob", "superior_to", "left knob"),),
    )
    assert "superior_to" in problems(circle)[0]
    assert problems(changed(plain, hub=(("hub", "inferior_to", "left knob"),))) == []


def test_an_organ_that_is_not_in_the_list_is_named(plain: DescriptionSet) -> None:
    made = changed(plain, hub=(("hub", "left_of", "lever"),))
    assert problems(made) == ["hub left_of lever: 'lever' is not in the organ list"]


def test_one_verdict_from_many_scans() -> None:
    claim = Claim(organ="a", relation="left_of", other="b")
    yes, no = ClaimVerdict("supported", 10.0, "mm"), ClaimVerdict("contradicted", -10.0, "mm")
    cannot = ClaimVerdict("untestable", None, "")
    assert summarize(claim, [yes, yes, yes, no]).verdict == "supported"
    assert summarize(claim, [yes, yes, yes, no]).measured == pytest.approx(5.0)
    assert summarize(claim, [yes, no]).verdict == "untestable"
    assert summarize(claim, [no, no, no, cannot]).verdict == "contradicted"
    assert summarize(claim, [cannot, cannot]).share is None
    assert summarize(claim, []).verdict == "untestable"
    assert summarize(claim, [no, cannot]).evidence() == (
        '"a left_of b" holds in 0 of 1 labeled scans, mean -10 mm'
    )


def test_a_claim_made_from_both_sides_counts_once() -> None:
    no, yes = ClaimVerdict("contradicted", -9.0, "mm"), ClaimVerdict("supported", 9.0, "mm")
    told = [
        (Claim(organ="a", relation="left_of", other="b"), yes),
        (Claim(organ="b", relation="right_of", other="a"), yes),
        (Claim(organ="b", relation="adjacent_to", other="a"), yes),
        (Claim(organ="a", relation="adjacent_to", other="b"), yes),
        (Claim(organ="b", relation="inside", other="a"), no),
        (Claim(organ="a", relation="surrounds", other="b"), yes),
    ]
    results = tuple(summarize(claim, [verdict]) for claim, verdict in told)
    report = CheckReport(cases=("1",), results=results, problems=())
    assert report.supported_share == pytest.approx(3 / 4)
    assert report.count("supported") == 5


def test_a_report_without_testable_claims_has_no_share() -> None:
    assert CheckReport(cases=(), results=(), problems=()).supported_share is None


def test_a_mirrored_name() -> None:
    assert mirror("left adrenal gland") == "right adrenal gland"
    assert mirror("Right kidney") == "left kidney"
    assert mirror("kidney right") == "kidney left"
    assert mirror("liver") is None
    assert mirror("leftover") is None


def test_a_model_is_shown_what_scans_contradict_and_corrects_itself(tmp_path: Path) -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[12:16, 8:12, 8:12] = 1
    labels[4:8, 8:12, 8:12] = 2
    scene = Scene(labels, np.diag([3.0, 3, 3, 1]), {"knob": 1, "hub": 2})

    def answer(body: Body) -> Reply:
        if is_probe(body) or asked_organ(body) != "knob":
            return good_answer(body)
        corrected = len(body["messages"]) > 2
        relation = "right_of" if corrected else "left_of"
        claims = [{"relation": relation, "other": "hub"}]
        text = f"The knob lies {relation} the hub."
        return Reply(
            json.dumps({"organ": "knob", "text": text, "claims": claims, "attributes": []})
        )

    template = Template("t", Wording(title="t", aspects={"place": "Where is the {organ}?"}))
    cache = AnswerCache(tmp_path)
    with chat_server(answer) as server:
        options = ProviderOptions(model="tiny", base_url=server.url)
        for _ in range(2):
            asked = describe(
                template,
                ("background", "knob", "hub"),
                OpenAICompatible(options, "key"),
                cache=cache,
                judge=lambda claims: contradictions(claims, [scene]),
            )
        assert len(server.questions) == 4
    made = asked.descriptions.get("knob", "place")
    assert made.claims[0].relation == "right_of"
    assert made.origin.corrections == 1
    assert made.origin.usage.calls == 2  # the answer and the correction
    evidence = '"knob left_of hub" holds in 0 of 1 labeled scans, mean -24 mm'
    assert evidence in user_text(server.questions[-1])
    assert asked.store.get("knob", "place", 0).raw == json.dumps(
        json.loads(answer(server.questions[-1]).content or "")
    )


def test_a_model_is_shown_that_its_sentences_oppose_its_claims() -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[12:16, 8:12, 8:12] = 1
    labels[4:8, 8:12, 8:12] = 2
    scene = Scene(labels, np.diag([3.0, 3, 3, 1]), {"knob": 1, "hub": 2})

    def answer(body: Body) -> Reply:
        if is_probe(body) or asked_organ(body) != "knob":
            return good_answer(body)
        said = "right" if len(body["messages"]) > 2 else "left"
        claims = [{"relation": "right_of", "other": "hub"}]  # true, but nobody encodes it
        text = f"The knob lies {said} of the hub."
        return Reply(
            json.dumps({"organ": "knob", "text": text, "claims": claims, "attributes": []})
        )

    template = Template("t", Wording(title="t", aspects={"place": "Where is the {organ}?"}))
    with chat_server(answer) as server:
        asked = describe(
            template,
            ("background", "knob", "hub"),
            OpenAICompatible(ProviderOptions(model="tiny", base_url=server.url), "key"),
            judge=lambda claims: contradictions(claims, [scene]),
        )
        assert len(server.questions) == 4
    assert asked.descriptions.get("knob", "place").text == "The knob lies right of the hub."
    complaint = user_text(server.questions[-1])
    assert "the text says left of the hub, a claim right_of" in complaint
    assert "labeled scans" not in complaint
    assert problems(asked.descriptions) == []


def test_what_a_model_insists_on_is_asked_once_more_and_counted(tmp_path: Path) -> None:
    def answer(body: Body) -> Reply:
        if is_probe(body) or asked_organ(body) in ("background", "rim"):
            return good_answer(body)
        organ = asked_organ(body)
        gives_way = organ == "hub" and len(body["messages"]) > 2
        claims = [] if gives_way else [{"relation": "inside", "other": "rim"}]
        text = f"The {organ} lies {'elsewhere' if gives_way else 'in the rim'}."
        raw = {"organ": organ, "text": text, "claims": claims, "attributes": []}
        return Reply(json.dumps(raw))

    template = Template("t", Wording(title="t", aspects={"place": "Where is the {organ}?"}))
    with chat_server(answer) as server:
        asked = describe(
            template,
            ("background", "knob", "hub", "rim"),
            OpenAICompatible(ProviderOptions(model="tiny", base_url=server.url), "key"),
            cache=AnswerCache(tmp_path),
            judge=lambda claims: dict.fromkeys(claims, "no"),
            rounds=3,
        )
    assert len(server.questions) == 6
    for organ, corrections in (("knob", 0), ("hub", 1)):
        origin = asked.descriptions.get(organ, "place").origin
        assert (origin.corrections, origin.usage.calls) == (corrections, 2)
    assert asked.descriptions.totals == asked.spent
