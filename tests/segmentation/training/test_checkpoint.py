import pickle

import pytest
import torch

from segmentation.training.checkpoint import Identity, TrainState, discard_partial, load, save


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
