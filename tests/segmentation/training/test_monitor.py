"""What a run tells while it trains: log, curves, warnings, state of the text head, trackers."""

import io
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional as F

from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.heads.text import FORMS, TextHead
from segmentation.networks.network import DEEP, Network
from segmentation.networks.vnet import VNet
from segmentation.training.log import open_log, read_log, truncate_log
from segmentation.training.monitor import MissingOrganWarning, text_head_state
from segmentation.training.runtime import memory_used, reset_peak_memory
from segmentation.training.trackers import MLflow, TensorBoard, WandB, trackers_of

NAN = float("nan")
PICTURE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def validation(step, scores, voxels):
    return {
        "step": step, "validation": {"student": 0.5}, "organs": {"student": scores},
        "predicted_voxels": voxels, "measures": {"text/code_cosine_mean": 0.25},
    }  # fmt: skip


def test_an_organ_is_named_after_so_many_validations_without_a_voxel():
    watch = MissingOrganWarning(3)
    seen = [
        watch.see(validation(step, {"a": 0.9, "b": 0.0, "c": NAN}, {"a": 7, "b": b, "c": 0}))
        for step, b in enumerate([0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    ]
    assert [bool(told) for told in seen] == [False] * 5 + [True, False, False, True, False]
    assert seen[5] == ["never predicted in 3 validations in a row: b"]
    assert seen[8] == ["never predicted in 6 validations in a row: b"]


def test_after_the_last_validation_every_organ_without_a_voxel_is_named():
    last = validation(1, {"a": 0.0, "b": 0.5, "c": NAN}, {"a": 0, "b": 3, "c": 0})
    assert MissingOrganWarning(3).see(last, last=True) == [
        "never predicted in the last validation: a"
    ]
    watch = MissingOrganWarning(3)
    watch.see(last)
    assert watch.see(last, last=True) == ["never predicted in 2 validations in a row: a"]


def test_records_without_a_validation_do_not_break_the_row():
    watch = MissingOrganWarning(2)
    assert not watch.see(validation(1, {"a": 0.0}, {"a": 0}))
    assert not watch.see({"step": 2, "loss": 1.0})
    assert watch.see(validation(3, {"a": 0.0}, {"a": 0}))


def make_network(head=None, form="published"):
    torch.manual_seed(0)
    vnet = VNet(width=4, levels=3, dropout=0.5)
    vectors = torch.randn(5, 2, 6)
    head = head or TextHead(4, vnet.widths[-DEEP:], 2, 6, form=form)
    return Network(vnet, head, vectors=vectors)


@pytest.mark.parametrize("form", FORMS)
def test_the_state_of_a_text_head_is_that_of_its_own_parts(form):
    network = make_network(form=form)
    patch = torch.rand(16, 16, 16)
    before = torch.random.get_rng_state()
    state = text_head_state(network, patch)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert network.training
    network.eval()
    codes = network.class_codes().detach()
    for one in range(5):
        for other in range(5):
            expected = F.cosine_similarity(codes[one], codes[other], dim=0)
            assert state.cosines[one, other] == pytest.approx(float(expected), abs=1e-5)
    weights = network.head.generated(network.encode(patch[None, None])[-DEEP:], codes)[0]
    torch.testing.assert_close(state.weight_norms, (weights.detach() ** 2).sum(1).sqrt())
    measures = state.measures(("background", "a", "b", "c", "d"))
    pairs = [float(state.cosines[i, j]) for i in range(5) for j in range(5) if i != j]
    assert measures["text/code_cosine_mean"] == pytest.approx(np.mean(pairs), abs=1e-6)
    assert measures["text/code_cosine_max"] == pytest.approx(max(pairs), abs=1e-6)
    assert measures["text/weight_norm/d"] == pytest.approx(float(state.weight_norms[4]))


def test_a_network_without_text_has_no_such_state():
    assert text_head_state(make_network(ConvHead(4, 5)), torch.rand(16, 16, 16)) is None


def test_peak_memory_is_what_the_kernel_counts():
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("no /proc")
    kibibytes = next(
        int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line
    )
    used = memory_used(torch.device("cpu"))
    assert used["memory_of"] == "process"
    assert used["peak_memory_mib"] == pytest.approx(kibibytes / 1024, rel=0.05)


@pytest.mark.gpu
def test_the_peak_of_a_gpu_begins_anew_with_every_run():
    gpu = torch.device("cuda")
    torch.zeros(2**26, device=gpu)
    reset_peak_memory(gpu)
    kept = torch.zeros(2**18, device=gpu)
    used = memory_used(gpu)
    assert used["memory_of"] == "GPU"
    assert kept.nbytes <= used["peak_memory_mib"] * 2**20 < 2**28


def test_a_log_is_cut_to_a_step_and_a_broken_last_line_is_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"step": step}) for step in range(5)]
    path.write_text("\n".join(lines) + '\n{"step": 5, "lo')
    assert [record["step"] for record in truncate_log(path, 3)] == [0, 1, 2, 3]
    assert read_log(path) == [{"step": step} for step in range(4)]
    assert read_log(tmp_path / "none.jsonl") == []


def refuse(word):
    raise AssertionError(f"{word} is no JSON")


def test_a_log_is_json_for_every_reader_and_nan_again_for_this_one(tmp_path):
    seen = []
    record = validation(1, {"a": NAN, "b": 0.5}, {"a": 0, "b": 3})
    record |= {"validation": {"student": NAN}, "measures": {"x": float("inf")}}
    with open_log(tmp_path, [TensorBoard], {}, 0, seen.append) as log:
        log.write(record)
        log.write({"step": 2, "loss": 1.0, "rate": 0.1, "terms": {}, "peak_memory_mib": None})
    assert seen[0]["organs"]["student"]["a"] is NAN, "who watches gets numbers"
    path = tmp_path / "log.jsonl"

    def strictly():
        lines = path.read_text().splitlines()
        return [json.loads(line, parse_constant=refuse) for line in lines]

    assert strictly()[0]["organs"] == {"student": {"a": None, "b": 0.5}}
    for again in (read_log(path), truncate_log(path, 2), read_log(path)):
        assert np.isnan(again[0]["organs"]["student"]["a"])
        assert np.isnan(again[0]["validation"]["student"])
        assert again[0]["predicted_voxels"] == {"a": 0, "b": 3}
        assert again[1]["peak_memory_mib"] is None
    assert strictly()[0]["measures"] == {"x": None}
    events = EventAccumulator(str(tmp_path)).Reload()
    assert np.isnan(events.Scalars("dice/student/a")[0].value)
    assert np.isinf(events.Scalars("x")[0].value)


def test_a_log_of_an_earlier_version_with_nan_in_it_is_read(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 3, "validation": {"s": NaN}, "organs": {"s": {"a": NaN}}}\n')
    assert np.isnan(read_log(path)[0]["organs"]["s"]["a"])
    assert np.isnan(truncate_log(path, 3)[0]["validation"]["s"])
    assert json.loads(path.read_text(), parse_constant=refuse)["organs"] == {"s": {"a": None}}


def test_a_tracker_that_fails_after_a_resume_is_told_at_the_step_it_failed_at(tmp_path):
    class Failing(TensorBoard):
        def close(self):
            raise OSError("gone")

    seen = []
    with open_log(tmp_path, [Failing], {}, 41, seen.append):
        pass
    assert [(record["step"], "gone" in record["warnings"][0]) for record in seen] == [(41, True)]


def test_a_full_disk_under_the_event_file_is_told_once_and_not_by_a_thread(
    tmp_path, monkeypatch, capfd
):
    """The file is opened and then takes nothing, as on a disk that has filled up since."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    def full(self, data):
        raise OSError(28, "No space left on device")

    hook = threading.excepthook
    seen = []
    with open_log(tmp_path, [TensorBoard], {}, 0, seen.append) as log:
        monkeypatch.setattr(RecordWriter, "write", full)
        log.write({"step": 1, "loss": 0.5, "rate": 0.1, "terms": {"dice": 0.5}})
        time.sleep(0.2)
    warnings = [record["warnings"][0] for record in seen if "warnings" in record]
    assert len(warnings) == 1
    assert "TensorBoard failed, training continues without it" in warnings[0]
    assert "No space left on device" in warnings[0]
    assert capfd.readouterr().err == ""
    assert threading.excepthook is hook


def write_some(folder, trackers):
    """A log of two sessions, the second resumed at step 2."""
    seen = []
    for done, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        with open_log(folder, trackers, {"a": {"b": 1}}, done, seen.append) as log:
            for step in steps:
                log.write({"step": step, "loss": step / 2, "rate": 0.1, "terms": {"dice": step}})
                pictures = {"case/x": PICTURE}
                log.write(validation(step, {"liver": 0.5, "spleen": 0.25}, {}), pictures)
    return seen


def test_curves_and_pictures_are_read_back_from_the_event_files(tmp_path):
    assert len(write_some(tmp_path, [TensorBoard])) == 10
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/dice")] == [
        (1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0),
    ]  # fmt: skip
    assert [e.value for e in events.Scalars("dice/student/spleen")] == [0.25] * 4
    assert events.Scalars("text/code_cosine_mean")[0].value == 0.25
    assert events.Images("case/x")[-1].width == 9
    shown = Image.open(io.BytesIO(events.Images("case/x")[-1].encoded_image_string))
    np.testing.assert_array_equal(np.asarray(shown), PICTURE)


def test_a_tracker_that_is_not_installed_is_named_before_a_run_begins(monkeypatch):
    monkeypatch.setattr("segmentation.training.trackers.find_spec", lambda name: None)
    assert trackers_of(wandb=False, mlflow=False) == [TensorBoard]
    for name in ("wandb", "mlflow"):
        asked = {"wandb": False, "mlflow": False} | {name: True}
        with pytest.raises(ValueError, match=rf"pip install 'tak-seg\[{name}\]'"):
            trackers_of(**asked)


@pytest.mark.filterwarnings("default")  # of the package, not ours
def test_mlflow_keeps_one_run_over_two_sessions(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    folder = tmp_path / "my-run"
    folder.mkdir()
    write_some(folder, [MLflow])
    client = mlflow.MlflowClient()
    (experiment,) = [e for e in client.search_experiments() if e.name == "tak-seg"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "my-run"
    assert run.data.params == {"a.b": "1"}
    history = client.get_metric_history(run.info.run_id, "dice/student/liver")
    assert sorted({(m.step, m.value) for m in history}) == [(s, 0.5) for s in (1, 2, 3, 4)]
    assert [a.path for a in client.list_artifacts(run.info.run_id, "case/x")][-1].endswith("4.png")


@pytest.mark.filterwarnings("default")  # of the package, not ours
def test_wandb_offline_writes_both_sessions_under_one_name(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "my-run"
    folder.mkdir()
    write_some(folder, [WandB])
    kept = json.loads((folder / "tracking.json").read_text())["wandb"]
    sessions = list(folder.glob(f"wandb/offline-run-*-{kept}/run-{kept}.wandb"))
    assert len(sessions) == 2
    assert b"dice/student/liver" in sessions[0].read_bytes()


class Fickle(TensorBoard):
    """A tracker whose server goes away after its first record, or at the end."""

    lives = 1

    def __init__(self, folder, config, step):
        super().__init__(
            folder / "other", config, step
        )  # a second file there would purge the first

    def scalars(self, values, step):
        self.lives -= 1
        if self.lives < 0:
            raise ConnectionError("the server went away")

    def close(self):
        super().close()
        raise ConnectionError("nobody answers any more")


def test_a_tracker_that_fails_on_the_way_is_named_once_and_the_log_goes_on(tmp_path):
    told = []
    with open_log(tmp_path, [Fickle, TensorBoard], {}, 0, told.append) as log:
        for step in (1, 2, 3):
            log.write({"step": step, "loss": 0.5, "rate": 0.1, "terms": {}})
    records = read_log(tmp_path / "log.jsonl")
    assert [record["step"] for record in records] == [1, 2, 2, 3]
    (warning,) = records[2]["warnings"]
    assert warning.startswith("Fickle failed, training continues without it")
    assert told == records
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/total")] == [1, 2, 3]


def test_a_tracker_that_cannot_be_closed_does_not_spoil_a_finished_run(tmp_path):
    with open_log(tmp_path, [Fickle], {}, 0, lambda record: None) as log:
        log.write({"step": 1, "loss": 0.5, "rate": 0.1, "terms": {}})
    assert "nobody answers any more" in read_log(tmp_path / "log.jsonl")[-1]["warnings"][0]
