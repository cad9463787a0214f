import os
import pickle
import subprocess
import sys
import warnings

import pytest
import torch

from segmentation.training.checkpoint import (
    Identity,
    TrainState,
    discard_partial,
    load,
    load_weights,
    save,
)


def state(**changes):
    return TrainState(
        **{
            "step": 3,
            "method": {"weight": torch.arange(4.0)},
            "optimizer": {"state": {}, "param_groups": []},
            "scaler": {},
            "best": None,
            "identity": Identity(("background", "liver"), "abc"),
            "config": {"run": {"title": "x"}},
        }
        | changes
    )


def test_what_is_saved_is_what_is_loaded(tmp_path):
    save(state(), tmp_path / "last.pt")
    found = load(tmp_path / "last.pt")
    assert torch.equal(found.method["weight"], torch.arange(4.0))
    assert (found.step, found.identity, found.config) == (
        3, Identity(("background", "liver"), "abc"), {"run": {"title": "x"}},
    )  # fmt: skip


def test_what_a_killed_process_left_half_written_is_removed_and_nothing_else(tmp_path):
    for name in (".last.pt.4711", ".best.pt.12", "last.pt", "best.pt", "log.jsonl", ".notes"):
        (tmp_path / name).write_bytes(b"x")
    discard_partial(tmp_path)
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {"last.pt", "best.pt", "log.jsonl", ".notes"}


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "last.pt"
    save(state(), path)
    before = path.read_bytes()
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        save(state(config={"run": lambda: None}), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


class Harm:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("kind", ["text", "truncated", "pickle", "tensor", "newer"])
def test_what_is_no_checkpoint_is_refused_and_nothing_in_it_runs(tmp_path, kind, capsys):
    path = tmp_path / "last.pt"
    if kind == "text":
        path.write_text("hello")
    elif kind == "truncated":
        save(state(), path)
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "pickle":
        torch.save({"format_version": 1, "x": Harm()}, path)
    elif kind == "tensor":
        torch.save(torch.zeros(3), path)
    else:
        torch.save({"format_version": 99}, path)
    with pytest.raises(ValueError, match=r"last.pt: (not a|format 99)"):
        load(path)
    assert "executed" not in capsys.readouterr().out


def test_a_missing_checkpoint_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load(tmp_path / "last.pt")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.eye(3).to_sparse(), "expected a dense tensor, but head.weight is sparse"),
        (
            lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
            "head.weight is sparse or",
        ),
        (lambda: torch.tensor([1.0, torch.nan]), "head.weight has values that are NaN or infinite"),
        (lambda: torch.tensor([1.0, torch.inf]), "head.weight has values that are NaN or infinite"),
    ],
    ids=["sparse", "quantized", "nan", "inf"],
)
def test_weights_that_no_run_writes_are_refused_by_name(tmp_path, make, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own about quantized tensors
        save(state(method={"head.weight": make()}), tmp_path / "last.pt")
        with pytest.raises(ValueError, match=f"last.pt: .*{message}"):
            load(tmp_path / "last.pt")


@pytest.mark.parametrize("part", ["method", "identity", "step"])
def test_a_checkpoint_without_one_of_its_parts_is_refused(tmp_path, part):
    path = tmp_path / "last.pt"
    save(state(), path)
    content = torch.load(path, weights_only=True)
    del content[part]
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"last.pt: not a complete checkpoint; expected the parts"):
        load(path)


def test_missing_unknown_and_misshapen_weights_are_named(tmp_path):
    layer = torch.nn.Linear(2, 3)
    good = layer.state_dict()
    load_weights(layer, good, tmp_path)
    for change, message in (
        ({"weight": good["weight"]}, "no weight bias"),
        (good | {"x": good["bias"]}, "an unknown weight x"),
        (good | {"bias": torch.zeros(5)}, r"bias of shape \[5\], expected \[3\]"),
    ):
        with pytest.raises(ValueError, match=message):
            load_weights(layer, change, tmp_path)


def test_a_file_that_cannot_grow_leaves_the_old_checkpoint_and_one_line(tmp_path):
    save(state(), tmp_path / "last.pt")
    before = (tmp_path / "last.pt").read_bytes()
    limit = len(before) + 4096
    code = f"""
import resource, torch
from pathlib import Path
from segmentation.training.checkpoint import load, save
from dataclasses import replace
path = Path({str(tmp_path / "last.pt")!r})
state = replace(load(path), method={{"weight": torch.zeros(100_000)}})
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    save(state, path)
except OSError as fault:
    print(str(fault).count("\\n"), fault)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"0 {tmp_path}/last.pt: the checkpoint could not be written")
    assert "(no space left, or above the limit of file sizes); free some disk space" in done.stdout
    assert (tmp_path / "last.pt").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "last.pt"]


def test_a_checkpoint_is_on_the_disk_before_it_replaces_the_old_one(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def noted(descriptor):
        calls.append("fsync")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("replace"), replace(*a)))
    save(state(), tmp_path / "last.pt")
    assert calls == ["fsync", "replace", "fsync"]  # file, name, folder
