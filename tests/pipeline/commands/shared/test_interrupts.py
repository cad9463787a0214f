import os
import signal
import sys

import pytest

from pipeline.commands.shared.interrupts import stoppable, stopped_with


@pytest.fixture(autouse=True)
def default_handler():
    """Handle SIGINT as at a terminal; a script in the background ignores it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_its_code_and_one_line(number, code, capsys):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end, stopped_with("masks are whole"):
        os.kill(os.getpid(), number)
    assert end.value.code == code
    assert capsys.readouterr().err == "stopped; masks are whole\n"
    assert signal.getsignal(signal.SIGTERM) == before


def interrupted_with(text: str) -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(text) from None


def test_an_interrupt_with_a_text_shows_it_and_the_handlers_are_restored(capsys):
    command = stoppable(interrupted_with, "masks are whole")
    with pytest.raises(SystemExit) as end:
        command("five masks are whole")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert end.value.code == 143
    assert capsys.readouterr().err == "stopped; five masks are whole\n"


def test_a_second_signal_lets_the_cleanup_end_and_keeps_the_first_code(capsys):
    done = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            done.append("removed")

    with pytest.raises(SystemExit) as end, stopped_with("masks are whole"):
        work()
    assert (end.value.code, done) == (143, ["removed"])
    assert capsys.readouterr().err == "stopped; masks are whole\n"


@pytest.mark.skipif(os.name != "posix", reason="timers of POSIX")
def test_a_postponed_signal_gives_the_code_also_if_another_one_comes_in_an_inner_block(capsys):
    class Finalized:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    def work() -> None:
        made = Finalized()
        del made
        with stopped_with("inner"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(SystemExit) as end, stopped_with("outer"):
        work()
    assert end.value.code == 143
    assert capsys.readouterr().err == "stopped; inner\n"


@pytest.mark.skipif(os.name != "posix", reason="timers of POSIX")
def test_a_signal_postponed_to_the_end_of_a_block_reaches_the_block_around_it(capsys):
    """A finalizer cannot be interrupted, and the block ends before the timer tries again."""

    class Finalized:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    done = []

    def work() -> None:
        with stopped_with("inner"):
            made = Finalized()
            del made
        done.append("lost")

    with pytest.raises(SystemExit) as end, stopped_with("outer"):
        work()
    assert (end.value.code, done) == (143, [])
    assert capsys.readouterr().err == "stopped; outer\n"


@pytest.mark.skipif(os.name != "posix", reason="timers of POSIX")
def test_an_import_is_finished_before_the_signal_takes_effect(tmp_path, monkeypatch, capsys):
    (tmp_path / "interrupted_module.py").write_text(
        "import os, signal, time\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "time.sleep(0.1)\n"
        "finished = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def work() -> None:
        import interrupted_module  # noqa: F401

        while True:
            pass

    with pytest.raises(SystemExit) as end, stopped_with("masks are whole"):
        work()
    assert end.value.code == 130
    assert sys.modules.pop("interrupted_module").finished
    assert capsys.readouterr().err == "stopped; masks are whole\n"
