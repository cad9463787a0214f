import os
import signal

import pytest
import typer

from pipeline.commands.shared.interrupts import signals_postponed, stopped_with


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_its_code_and_one_line(number, code, capsys):
    before = signal.getsignal(signal.SIGTERM)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(typer.Exit) as end, stopped_with("masks are whole"):
            os.kill(os.getpid(), number)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert end.value.exit_code == code
    assert capsys.readouterr().err == "stopped; masks are whole\n"
    assert signal.getsignal(signal.SIGTERM) == before


def interrupted_with(text: str) -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(text) from None


def test_an_interrupt_with_a_text_shows_it_and_the_handlers_are_restored(capsys):
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(typer.Exit) as end, stopped_with("masks are whole"):
            interrupted_with("five masks are whole")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
    assert end.value.exit_code == 143
    assert capsys.readouterr().err == "stopped; five masks are whole\n"


def test_postponed_signals_take_effect_after_the_block(capsys):
    done = []
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)

    def work() -> None:
        with signals_postponed():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("imported")
        done.append("never")

    try:
        with pytest.raises(typer.Exit) as end, stopped_with("masks are whole"):
            work()
        with signals_postponed():
            pass
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
    assert (end.value.exit_code, done) == (143, ["imported"])
