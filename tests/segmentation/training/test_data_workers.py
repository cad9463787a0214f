"""Data worker processes: a damaged case and a killed worker end training with one line."""

import gc
import multiprocessing
import shutil
import time

import pytest

from segmentation.data.preparation import load_prepared
from tests.segmentation.training.test_trainer import make_trainer


@pytest.fixture
def damaged(prepared, tmp_path):
    """Prepared data whose labeled files are cut off."""
    shutil.copytree(prepared.root, tmp_path / "damaged")
    for case in prepared.split.labeled:
        path = tmp_path / "damaged" / prepared.file(case).name
        path.write_bytes(path.read_bytes()[:3000])
    return load_prepared(tmp_path / "damaged")


def test_a_damaged_case_gives_the_same_line_with_and_without_workers(damaged, tmp_path):
    messages = []
    for workers in (0, 2):
        trainer = make_trainer(damaged, tmp_path / f"run{workers}", workers=workers)
        with pytest.raises((ValueError, OSError)) as caught:
            trainer.run()
        # While the error's traceback lives: at exit, Python would wait for a worker without end.
        assert not multiprocessing.active_children()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]
    assert any(case in messages[0] for case in damaged.split.labeled)


def test_a_killed_worker_ends_training_within_seconds(prepared, tmp_path):
    begin = []

    def kill(record):
        if record["step"] == 3 and not begin:
            multiprocessing.active_children()[0].kill()
            begin.append(time.monotonic())

    trainer = make_trainer(
        prepared, tmp_path / "run", workers=2, steps=5000, checkpoint_every=2, report=kill
    )
    with pytest.raises(ChildProcessError, match=r"training.workers = 2 .* was killed.*--resume"):
        trainer.run()
    assert time.monotonic() - begin[0] < 20
    assert (tmp_path / "run" / "last.pt").is_file()
    gc.collect()  # the loader's iterator ends its other worker
    for child in multiprocessing.active_children():
        child.terminate()  # as Python does at its exit, once more than the loader
        child.join(20)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("fault", [ConnectionResetError, EOFError])
def test_a_worker_that_dies_while_it_hands_over_a_batch_is_named(
    prepared, tmp_path, monkeypatch, fault
):
    """The socket over which a worker passes shared memory breaks before torch sees its death."""

    def broken(*_):
        raise fault()

    monkeypatch.setattr(
        "torch.utils.data.dataloader._MultiProcessingDataLoaderIter._get_data", broken
    )
    trainer = make_trainer(prepared, tmp_path / "run", workers=1)
    with pytest.raises(ChildProcessError, match=r"training.workers = 1 .* was killed.*--resume"):
        trainer.run()
    gc.collect()
    assert not multiprocessing.active_children()
