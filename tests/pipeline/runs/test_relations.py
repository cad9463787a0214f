"""Runs with relations: chosen on labeled cases, kept in the run, resumed exactly, controls.

Relations are a loss in most tests; the last ones have them as a filter of pseudo-labels.
"""

import json
from pathlib import Path

import pytest
import torch

from segmentation.training.checkpoint import load
from segmentation.training.trainer import Trainer
from tests.support.command_line import changed, tak_here

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def claims(tmp_path_factory):
    """The shipped descriptions of the phantom's organs."""
    path = tmp_path_factory.mktemp("claims") / "descriptions.json"
    done = tak_here("describe", "phantom", "-o", path)
    assert done.exit_code == 0, done.output
    return path


def train(prepared, folder, *changes, steps=4, more=()):
    options = ("head.name=conv", "alignment.name=none", "method.name=supervised")
    words = [w for w in changed(*options, *changes) if w != "--set"]
    words = [
        w for w in words if not w.startswith(("method.cube", "method.location", "training.st"))
    ]
    settings = [word for change in words for word in ("--set", change)]
    return tak_here(
        "train", prepared.root, "--recipe", "phantom-methods", "-o", folder, *settings,
        "--set", f"training.steps={steps}", *more,
    )  # fmt: skip


def kept(folder):
    return json.loads((folder / "relations.json").read_text())


def test_a_run_keeps_the_claims_that_hold_and_names_those_that_do_not(prepared, claims, tmp_path):
    done = train(prepared, tmp_path / "run", "relations.weight=0.5", f"relations.claims={claims}")
    assert done.exit_code == 0, done.output
    record = kept(tmp_path / "run")
    used = {(each["organ"], each["relation"], each["other"]) for each in record["used"]}
    assert ("right kidney", "right_of", "left kidney") in used
    assert ("left kidney", "right_of", "right kidney") not in used
    assert all(0 <= each["allowed"] < 0.5 and 0 < each["weight"] <= 1 for each in record["used"])
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert log[0]["relations"] == {"used": len(used), "left_out": len(record["left_out"])}
    assert "relations" in log[-2]["terms"]
    assert "relations" not in log[1]["terms"]  # the warm-up


def test_a_resumed_run_is_the_undisturbed_one_and_needs_no_claims_file(
    prepared, claims, tmp_path, monkeypatch
):
    copy = tmp_path / "claims.json"
    copy.write_bytes(claims.read_bytes())
    options = ("relations.weight=1.0", "relations.threshold=0.0", f"relations.claims={copy}")
    assert train(prepared, tmp_path / "whole", *options, steps=6).exit_code == 0
    learn = Trainer._learn

    def fail_in_fifth_step(self, batch):
        if self.step == 4:
            raise OSError("interrupted")
        return learn(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_learn", fail_in_fifth_step)
        assert train(prepared, tmp_path / "parts", *options, steps=6).exit_code == 1
    copy.unlink()
    done = train(prepared, tmp_path / "parts", *options, steps=6, more=["--resume"])
    assert done.exit_code == 0, done.output
    states = [load(tmp_path / name / "last.pt") for name in ("whole", "parts")]
    assert [state.step for state in states] == [6, 6]
    assert all(torch.equal(value, states[1].method[key]) for key, value in states[0].method.items())


@pytest.mark.parametrize("source", ["mirrored", "shuffled"])
def test_controls_use_as_many_relations_with_the_same_limits(prepared, claims, tmp_path, source):
    options = ("relations.weight=0.5", f"relations.claims={claims}")
    assert train(prepared, tmp_path / "true", *options).exit_code == 0
    assert train(prepared, tmp_path / "not", *options, f"relations.source={source}").exit_code == 0
    true, control = kept(tmp_path / "true")["used"], kept(tmp_path / "not")["used"]
    assert [each["allowed"] for each in true] == [each["allowed"] for each in control]
    pairs = [[(each["organ"], each["other"]) for each in record] for record in (true, control)]
    if source == "mirrored":
        assert pairs[1] == [(other, organ) for organ, other in pairs[0]]
    else:
        assert set(pairs[0]) != set(pairs[1])
        assert all(organ != other for organ, other in pairs[1])


def test_geometry_needs_no_claims(prepared, tmp_path):
    options = ("relations.weight=0.5", "relations.source=geometry")
    assert train(prepared, tmp_path / "run", *options).exit_code == 0
    used = {(each["organ"], each["other"]) for each in kept(tmp_path / "run")["used"]}
    assert ("right kidney", "left kidney") in used


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("relations.weight=1",), "relations.source = claims needs relations.claims"),
        (("relations.weight=1", "relations.claims=gone.json"), "gone.json"),
        (
            ("relations.weight=1", "relations.source=geometry", "training.unlabeled_per_step=0"),
            "relations.weight needs training.unlabeled_per_step > 0",
        ),
        (("relations.weights=1",), "weights"),
        (("relations.filter=0.9",), "relations.source = claims needs relations.claims"),
        (("relations.filter=0.2",), "relations.filter: expected 0 or a share in [0.5, 1), got 0.2"),
        (
            ("relations.filter=0.9", "relations.source=geometry"),
            "relations.filter = 0.9 does not fit method.name = supervised, which has no loss on "
            "pseudo-labels of voxels; methods with one: a_d, acisis",
        ),
        (
            ("relations.weight=1", "relations.source=geometry", 'augmentation.mirror=["y"]'),
            "relations do not fit augmentation.mirror = ['y']",
        ),
    ],
)
def test_faults_are_named(prepared, tmp_path, changes, message):
    done = train(prepared, tmp_path / "run", *changes)
    assert done.exit_code == 1
    assert message in str(done.exception) + done.output
    assert not (tmp_path / "run").exists()


def test_organs_that_no_relation_holds_for_are_refused(prepared, claims, tmp_path):
    options = ("relations.weight=1", f"relations.claims={claims}", "relations.least=1e9")
    done = train(prepared, tmp_path / "run", *options)
    assert done.exit_code == 1
    assert "relations holds in labeled patches of [16, 16, 16]" in str(done.exception)


FILTER = ("method.name=cps", "relations.filter=0.6", "relations.least=2")


def records(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_filter_takes_sure_claims_and_logs_what_it_ignores(prepared, claims, tmp_path):
    options = (*FILTER, f"relations.claims={claims}", "training.log_every=1")
    done = train(prepared, tmp_path / "run", *options)
    assert done.exit_code == 0, done.output
    used = kept(tmp_path / "run")["used"]
    assert used
    assert all(each["allowed"] <= 0.1 for each in used)
    steps = [record for record in records(tmp_path / "run") if "terms" in record]
    assert "measures" not in steps[0]  # the warm-up
    assert 0 <= steps[-1]["measures"]["relations/ignored"] <= 1
    assert "relations" not in steps[-1]["terms"]  # no loss


def test_a_run_without_relations_logs_no_share(prepared, tmp_path):
    assert train(prepared, tmp_path / "run", "method.name=cps").exit_code == 0
    steps = [record for record in records(tmp_path / "run") if "terms" in record]
    assert not any("measures" in record for record in steps)
    assert not (tmp_path / "run" / "relations.json").exists()


def test_a_filtered_run_resumes_exactly(prepared, claims, tmp_path, monkeypatch):
    copy = tmp_path / "claims.json"
    copy.write_bytes(claims.read_bytes())
    # Mirrored claims along a short run ignore much; training without the filter ends elsewhere.
    options = (*FILTER, f"relations.claims={copy}", "relations.source=mirrored",
               "relations.threshold=0", "method.consistency_ramp=0", "training.warmup_steps=2",
               "training.log_every=1")  # fmt: skip
    assert train(prepared, tmp_path / "whole", *options, steps=6).exit_code == 0
    assert train(prepared, tmp_path / "off", *options, "relations.filter=0", steps=6).exit_code == 0
    learn = Trainer._learn

    def fail_in_fifth_step(self, batch):
        if self.step == 4:
            raise OSError("interrupted")
        return learn(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_learn", fail_in_fifth_step)
        assert train(prepared, tmp_path / "parts", *options, steps=6).exit_code == 1
    copy.unlink()
    done = train(prepared, tmp_path / "parts", *options, steps=6, more=["--resume"])
    assert done.exit_code == 0, done.output
    whole, parts, off = (load(tmp_path / name / "last.pt") for name in ("whole", "parts", "off"))
    assert all(torch.equal(value, parts.method[key]) for key, value in whole.method.items())
    assert not all(torch.equal(value, off.method[key]) for key, value in whole.method.items())
    shares = [[record.get("measures") for record in records(tmp_path / name) if "terms" in record]
              for name in ("whole", "parts")]  # fmt: skip
    assert shares[0] == shares[1]
    assert shares[0][-1]["relations/ignored"] > 0.2


def test_a_filter_without_a_sure_claim_is_refused(prepared, claims, tmp_path):
    options = ("method.name=cps", "relations.filter=0.9", f"relations.claims={claims}")
    done = train(prepared, tmp_path / "run", *options, "relations.least=1e9")
    assert done.exit_code == 1
    assert "relations holds surely in labeled patches of [16, 16, 16]" in str(done.exception)
    assert "relations.filter = 0" in str(done.exception)
