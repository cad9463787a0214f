"""A process that runs `tak` commands for a study: `python -m pipeline.worker`.

Reads a JSON line {"words", "log"} per command from standard input; answers with {"code", "error",
"peak_mib", "gpu_mib"}. Commands run in this process, so that imports are paid once.
"""

import json
import os
import select
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.cli import app, message_of
from pipeline.experiments.engines.workers import IN_USE
from pipeline.runs.folder import FolderInUse
from pipeline.startup import configure_process


def serve() -> None:
    """Answer commands until standard input ends."""
    configure_process()
    busy = threading.Event()
    threading.Thread(target=_end_with_parent, args=(busy,), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        request = json.loads(line)
        _forget_peak()
        busy.set()
        code, error = _run(request["words"], Path(request["log"]))
        busy.clear()
        memory = {"peak_mib": _peak_mib(), "gpu_mib": _gpu_mib()}
        answers.write(json.dumps({"code": code, "error": error, **memory}) + "\n")
        answers.flush()


def _end_with_parent(busy: threading.Event) -> None:
    """End the running command once the study that started this process was killed.

    A training saves; without this it would go on, and keep the next one out of its folder. The
    study holds the other end of standard input, which the system closes with it.
    """
    if not hasattr(select, "poll"):  # Windows
        return
    ended = select.poll()
    ended.register(0, 0)  # asks for nothing, so that only the end of the pipe is reported
    ended.poll()
    busy.wait()  # without a command the process ends by itself
    os.kill(os.getpid(), signal.SIGTERM)


def _run(words: list[str], log: Path) -> tuple[int, str]:
    """Exit code and error of one command; its output, also of C libraries, goes to the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        print(f"$ tak {' '.join(_without_secrets(words))}", file=file, flush=True)
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    # Between commands a SIGTERM ends the worker; `train` and others install handlers of their own.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        result: Any = app(words, standalone_mode=False)
        code = result if isinstance(result, int) else 0
        return code, "" if code == 0 else f"exit code {code}"
    except KeyboardInterrupt:
        return 130, "interrupted"
    except FolderInUse as error:
        return IN_USE, message_of(error)
    except (ValueError, OSError, LookupError) as error:
        return 1, message_of(error)
    except SystemExit as end:
        return int(end.code or 0), ""
    except Exception as error:
        traceback.print_exc()
        message = getattr(error, "message", "") or str(error)
        return 1, f"{type(error).__name__}: {message}"
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _without_secrets(words: list[str]) -> list[str]:
    """The words of a command with `...` for the values of headers and queries."""
    shown = list(words)
    for place, word in enumerate(words[:-1]):
        if word in ("--header", "--query"):
            shown[place + 1] = words[place + 1].partition("=")[0] + "=..."
    return shown


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _forget_peak() -> None:
    """Let the peak of the process start anew, where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_mib() -> float | None:
    """Most memory of this process since `_forget_peak`, or since its start."""
    with suppress(OSError, IndexError, ValueError):
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) / 2**10
    if sys.platform == "win32":
        return None
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _gpu_mib() -> float | None:
    """Most memory of the GPU during the command, which is then given back; None without one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    most = torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return float(most / 2**20)


if __name__ == "__main__":
    serve()
