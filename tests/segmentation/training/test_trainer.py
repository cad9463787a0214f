import json
import os
import signal
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from segmentation.data.preparation import read_case
from segmentation.evaluation.metrics import dice
from segmentation.inference.sliding_window import SlidingWindow
from segmentation.losses import GA, DiceCE
from segmentation.methods.base.method import MethodContext
from segmentation.methods.magicnet import MagicNet
from segmentation.methods.supervised import Supervised
from segmentation.networks.alignments.contrast import Contrast
from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.heads.text import TextHead
from segmentation.networks.network import DEEP, Network
from segmentation.networks.vnet import VNet
from segmentation.training.checkpoint import Identity, load
from segmentation.training.monitor import Validation
from segmentation.training.options import Training
from segmentation.training.patches import PatchStream
from segmentation.training.trainer import Trainer

CPU = torch.device("cpu")
IDENTITY = Identity(("background", *"abcdefghijklm"), "digest")


def make_method(steps, *, aligned=False):
    torch.manual_seed(1)

    def build():
        vnet = VNet(width=4, levels=3, dropout=0.2 if aligned else 0.0)
        vectors = torch.randn(14, 2, 6, generator=torch.Generator().manual_seed(2))
        deep = vnet.widths[-DEEP:]
        few = {"own_deepest": False, "start": 0.2, "samples": (4, 4, 4)}
        contrast = Contrast(deep, 6, **few) if aligned else None
        return Network(vnet, TextHead(4, deep, 2, 6), contrast, vectors)

    given = MethodContext(build, GA(), steps, classes=14, patch=(16,) * 3, warmup_steps=2)
    return MagicNet(given, cube=8, location_hidden=16)


def make_trainer(
    prepared, folder, *, validate=None, report=None, method=None, device=CPU, augmenter=None,
    **changes,
):  # fmt: skip
    options = Training(
        **{
            "steps": 8,
            "patch": (16, 16, 16),
            "log_every": 1,
            "validate_every": 4,
            "checkpoint_every": 3,
            "warmup_steps": 2,
        }
        | changes
    )
    folder.mkdir(exist_ok=True)
    split = prepared.split
    stream = PatchStream(
        [prepared.file(case) for case in split.labeled],
        [prepared.file(case) for case in split.unlabeled],
        patch=options.patch,
        seed=3,
        device=device if options.volumes_on == "device" else None,
        augmenter=augmenter,
    )
    return Trainer(
        method or make_method(options.steps), stream, options, folder, identity=IDENTITY, config={},
        device=device, validate=validate, report=report or (lambda record: None),
    )  # fmt: skip


def supervised(steps, side):
    """A supervised method with a convolution head for patches of a side."""
    torch.manual_seed(0)

    def build():
        return Network(VNet(width=4, levels=3), ConvHead(4, 14))

    return Supervised(MethodContext(build, DiceCE(), steps, classes=14, patch=(side,) * 3))


def records(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weights(trainer):
    return trainer.method.state_dict()


def interrupt_at(step):
    """A report that sends SIGINT to this process once the losses of the step are logged."""

    def report(record):
        if record["step"] == step and "loss" in record:
            os.kill(os.getpid(), signal.SIGINT)

    return report


@pytest.mark.parametrize("stop", [1, 2, 5])
def test_a_resumed_run_has_the_same_weights_bit_for_bit(prepared, tmp_path, stop):
    whole = make_trainer(prepared, tmp_path / "whole")
    assert whole.run()

    broken = make_trainer(prepared, tmp_path / "broken", report=interrupt_at(stop))
    assert not broken.run()
    assert load(tmp_path / "broken" / "last.pt").step == stop
    resumed = make_trainer(prepared, tmp_path / "broken")
    resumed.resume()
    assert resumed.run()

    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert whole.optimizer.state_dict()["state"].keys() == (
        resumed.optimizer.state_dict()["state"].keys()
    )
    losses = [[r["loss"] for r in records(tmp_path / name)] for name in ("whole", "broken")]
    assert losses[0] == losses[1]


def test_volumes_on_the_device_teach_the_same_bits(prepared, tmp_path):
    host = make_trainer(prepared, tmp_path / "host", steps=4)
    there = make_trainer(prepared, tmp_path / "there", steps=4, volumes_on="device")
    assert host.run()
    assert there.run()
    for name, value in weights(host).items():
        assert torch.equal(value, weights(there)[name]), name


def scores_of(prepared):
    """A real validation: Dice of the student and of the teacher on the validation case."""

    def validate(method):
        case = read_case(prepared.file(prepared.split.validation[0]))
        scores, voxels = {}, {}
        for name, network in method.predictors().items():
            image = torch.from_numpy(case.image)
            labels = SlidingWindow((32,) * 3, 0.0).labels(network, image)
            scores[name] = dice(labels, case.label, prepared.spec.classes)
            voxels = voxels or {
                organ: int((labels == index).sum())
                for index, organ in enumerate(prepared.spec.classes) if index
            }  # fmt: skip
        return Validation(scores, voxels)

    return validate


def test_a_run_with_contrast_and_validation_is_resumed_to_the_same_bits(prepared, tmp_path):
    def trainer(folder, **options):
        return make_trainer(
            prepared, tmp_path / folder, method=make_method(8, aligned=True), validate_every=2,
            validate=scores_of(prepared), warn_after_validations=2, **options,
        )  # fmt: skip

    whole = trainer("whole")
    assert whole.run()
    assert not trainer("broken", report=interrupt_at(5)).run()
    resumed = trainer("broken")
    resumed.resume()
    assert resumed.run()
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    kept = [
        [{k: v for k, v in record.items() if k not in ("seconds", "peak_memory_mib")}
         for record in records(tmp_path / folder)]
        for folder in ("whole", "broken")
    ]  # fmt: skip
    assert str(kept[0]) == str(kept[1])  # NaN, an organ that is not there, equals itself as text
    assert "contrast" in kept[0][-2]["terms"]
    assert any(record.get("warnings") for record in kept[0])
    states = [load(tmp_path / folder / "best.pt") for folder in ("whole", "broken")]
    assert (states[0].step, states[0].best) == (states[1].step, states[1].best)


def test_training_lowers_the_loss_and_the_log_holds_every_step(prepared, tmp_path):
    method = supervised(60, 16)
    make_trainer(prepared, tmp_path, method=method, steps=60, rate=0.05, warmup_steps=0).run()
    log = records(tmp_path)
    assert [record["step"] for record in log] == list(range(1, 61))
    losses = [record["loss"] for record in log]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_the_log_holds_every_term_and_their_sum(prepared, tmp_path):
    make_trainer(prepared, tmp_path).run()
    last = records(tmp_path)[-1]
    names = {"cross_entropy", "dice", "cross_dice", "within_dice", "location", "consistency"}
    assert last["terms"].keys() == names
    assert last["loss"] == pytest.approx(sum(last["terms"].values()))


def test_a_validation_that_scores_nothing_is_no_best_one(prepared, tmp_path):
    values = iter([float("nan"), 0.2, float("nan"), 0.1])

    def validate(method):
        return Validation({"student": {"a": next(values)}})

    make_trainer(prepared, tmp_path, validate=validate, validate_every=2).run()
    best = load(tmp_path / "best.pt")
    assert (best.step, best.best) == (4, 0.2)


def test_the_best_checkpoint_is_the_one_with_the_best_validation(prepared, tmp_path):
    values = iter([0.3, 0.7, 0.5, 0.1])

    def validate(method):
        value = next(values)
        scores = {"a": value, "b": float("nan")}
        return Validation({"student": scores, "teacher": {"a": 1.0, "b": 1.0}})

    make_trainer(prepared, tmp_path, validate=validate, validate_every=2).run()
    best, last = load(tmp_path / "best.pt"), load(tmp_path / "last.pt")
    assert (best.step, best.best) == (4, 0.7)
    assert (last.step, last.best) == (8, 0.7)
    scores = [r["validation"]["student"] for r in records(tmp_path) if "validation" in r]
    assert scores == [0.3, 0.7, 0.5, 0.1]


def test_a_run_that_is_killed_after_a_validation_goes_on_from_it(prepared, tmp_path):
    def killed(record):
        if record["step"] == 3:
            raise KeyboardInterrupt

    def trainer(**options):
        return make_trainer(
            prepared, tmp_path, validate=lambda method: Validation({"student": {"a": 0.5}}),
            validate_every=2, checkpoint_every=100, **options,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        trainer(report=killed).run()
    assert load(tmp_path / "best.pt").step == 2
    resumed = trainer()
    resumed.resume()
    assert (resumed.step, resumed.best) == (2, 0.5)


def test_a_signal_between_two_looks_for_one_loses_no_step(prepared, tmp_path, monkeypatch):
    answers = iter([False] + [True] * 9)

    @contextmanager
    def signals():
        yield lambda: next(answers)

    monkeypatch.setattr("segmentation.training.trainer.stop_on_signal", signals)
    trainer = make_trainer(prepared, tmp_path, checkpoint_every=100)
    assert not trainer.run()
    assert load(tmp_path / "last.pt").step == trainer.step


def test_the_rate_falls_as_the_polynomial_says(prepared, tmp_path):
    make_trainer(prepared, tmp_path, rate=0.02, rate_horizon=2.0).run()
    for record in records(tmp_path):
        expected = 0.02 * (1 - (record["step"] - 1) / 16) ** 0.9
        assert record["rate"] == pytest.approx(expected)


@pytest.mark.parametrize(("log_every", "checkpoint_every"), [(1, 100), (100, 2), (100, 1)])
def test_a_run_that_diverges_stops_with_advice_and_saves_no_nan(
    prepared, tmp_path, log_every, checkpoint_every
):
    trainer = make_trainer(
        prepared, tmp_path, rate=1e30, log_every=log_every, checkpoint_every=checkpoint_every
    )
    with pytest.raises(
        ValueError, match=r"step \d+: .*(the loss is|is not finite).* phantom_.*lower training.rate"
    ):
        trainer.run()
    if (tmp_path / "last.pt").exists():
        saved = load(tmp_path / "last.pt").method.values()
        assert all(torch.isfinite(value).all() for value in saved)


def test_a_checkpoint_of_other_classes_or_another_bank_is_refused(prepared, tmp_path):
    make_trainer(prepared, tmp_path, steps=3).run()
    for identity in (
        Identity(("background", "x"), "digest"),
        Identity(IDENTITY.classes, "other"),
        Identity(IDENTITY.classes, "digest", "other data"),
    ):
        other = make_trainer(prepared, tmp_path, steps=3)
        other.identity = identity
        with pytest.raises(ValueError, match="made"):
            other.resume()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_on_a_cpu_is_refused(prepared, tmp_path, precision):
    with pytest.raises(ValueError, match="needs a GPU"):
        make_trainer(prepared, tmp_path, precision=precision)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_trains_in_every_precision(prepared, tmp_path, precision):
    method = make_method(8).cuda()
    device = torch.device("cuda")
    make_trainer(prepared, tmp_path, precision=precision, method=method, device=device).run()
    assert all(torch.isfinite(torch.tensor(r["loss"])) for r in records(tmp_path))


def test_one_labeled_case_and_a_patch_larger_than_the_scan_train(prepared, tmp_path):
    one = prepared.split.labeled[:1]
    split = prepared.split.model_copy(update={"labeled": tuple(one)})
    few = replace(prepared, split=split)
    side = 8 * (max(read_case(prepared.file(one[0])).image.shape) // 8 + 1)
    trainer = make_trainer(few, tmp_path, steps=2, patch=(side,) * 3, method=supervised(2, side))
    assert trainer.run()
    assert all(value.isfinite().all() for value in load(tmp_path / "last.pt").method.values())


def test_a_scan_that_is_not_finite_ends_training_with_its_name_and_the_last_checkpoint(
    prepared, tmp_path
):
    trainer = make_trainer(prepared, tmp_path, checkpoint_every=2, method=supervised(8, 16))
    bad = trainer.stream.case_names(3)[0]
    crop = trainer.stream._crop

    def with_nan(step, stream, place):
        voxels = crop(step, stream, place)
        if step >= 3 and trainer.stream._choose(step, stream, place).stem == bad:
            voxels.image[0, 0, 0] = torch.nan
        return voxels

    trainer.stream._crop = with_nan
    with pytest.raises(ValueError, match=rf"step 4: .* a batch of .*{bad}"):
        trainer.run()
    assert load(tmp_path / "last.pt").step == 2
