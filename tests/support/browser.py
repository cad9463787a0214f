"""A headless Chromium for tests, spoken to over two pipes: no driver and no web socket."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
NO_GL = ("--disable-gpu", "--disable-3d-apis")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_browser() -> str | None:
    """The path of an installed Chromium or Chrome."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page; `errors` collects what the console complains about and uncaught exceptions."""

    def __init__(self, write: int, read: int) -> None:
        self.write, self.read = write, read
        self.session: str | None = None
        self.numbers = itertools.count(1)
        self.rest = b""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of one command of the DevTools protocol."""
        number = next(self.numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            chunk = os.read(self.read, 1 << 20)
            if not chunk:
                raise RuntimeError("the browser went away")
            self.rest += chunk
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path, *, width: int = 1400, height: int = 1000, dark: bool = False):
        """Open a file at a size and in a theme, and wait until its scans are unpacked."""
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 700,
        )  # fmt: skip
        self.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.until("document.readyState === 'complete'")
        self.until("!document.querySelector('.readout')?.textContent.startsWith('Unpacking')")

    def until(self, condition: str, seconds: float = 20) -> None:
        """Wait for a condition in JavaScript."""
        limit = time.monotonic() + seconds
        while not self.ask(condition):
            assert time.monotonic() < limit, f"never true: {condition}"
            time.sleep(0.05)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press a key, as on a keyboard."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Click into an element, at shares of its width and height."""
        where = "{block: 'center', behavior: 'instant'}"
        self.ask(f"document.querySelector({selector!r}).scrollIntoView({where})")
        box = self.ask(
            f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect();"
            "return [b.x, b.y, b.width, b.height] })()"
        )
        place = {"x": box[0] + x * box[2], "y": box[1] + y * box[3]}
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            pressed = {"button": "left", "clickCount": 1} if kind != "mouseMoved" else {}
            held = {"buttons": 1} if kind == "mousePressed" else {}
            self.call("Input.dispatchMouseEvent", type=kind, **place, **pressed, **held)

    @property
    def errors(self) -> list[str]:
        """Console errors, uncaught exceptions and failed loads since the page was opened."""
        self.ask("1")  # events that are under way arrive before the answer
        found = []
        for event in self.events:
            name, told = event.get("method"), event.get("params", {})
            if name == "Runtime.exceptionThrown":
                found.append(json.dumps(told["exceptionDetails"]))
            elif name == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
                found.append(json.dumps(told["args"]))
            elif name == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
                found.append(told["entry"]["text"])
        return found

    @property
    def requests(self) -> list[str]:
        """The addresses that the page asked for."""
        self.ask("1")
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def screenshot(self, path: Path, selector: str | None = None) -> None:
        """A PNG of the whole page, or of one element."""
        clip = {}
        if selector:
            box = self.ask(
                f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect();"
                "return [b.x + scrollX, b.y + scrollY, b.width, b.height] })()"
            )
            clip = {"clip": dict(zip(("x", "y", "width", "height"), box, strict=True), scale=1)}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, **clip)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browsing(browser: str, *, webgl: bool = True) -> Iterator[Page]:
    """A fresh browser with one page; its network is cut off. WebGL is drawn by the processor."""
    to_browser, from_browser = os.pipe(), os.pipe()

    def connect() -> None:
        os.dup2(to_browser[0], 13)
        os.dup2(from_browser[1], 14)
        os.dup2(13, 3)
        os.dup2(14, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [browser, "--headless=new", "--no-sandbox", "--disable-dev-shm-usage",
             *(SOFTWARE_GL if webgl else NO_GL),
             "--no-first-run", "--mute-audio", "--disable-background-networking",
             "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe",
             f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=connect, close_fds=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser[0])
        os.close(from_browser[1])
        try:
            yield Page(to_browser[1], from_browser[0])
        finally:
            process.terminate()
            process.wait(timeout=20)
            os.close(to_browser[1])
            os.close(from_browser[0])
