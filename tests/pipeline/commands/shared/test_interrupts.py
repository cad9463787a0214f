import os
import signal

import pytest
import typer

from pipeline.commands.shared.interrupts import stopped_with


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
