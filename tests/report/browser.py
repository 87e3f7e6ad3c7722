"""A page in headless Chromium, driven over the DevTools protocol through two pipes: no package, no port."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE_S = 60
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str | None:
    """Return where the browser lies, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Visit:
    """What happened while a page was open."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    screenshot: bytes = b""
    pdf: bytes = b""


def visit(
    page: Path, profile: Path, *, width: int, questions: dict[str, str], dark: bool = False, images: bool = False
) -> Visit:
    """Open a file as a screen of ``width`` pixels would; ask JavaScript questions; note requests and complaints."""
    browser = _Browser(profile)
    try:
        return _look(browser, page, width, questions, dark, images)
    finally:
        browser.close()


def _look(browser: _Browser, page: Path, width: int, questions: dict[str, str], dark: bool, images: bool) -> Visit:
    target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
    session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Network", "Log", "Runtime"):
        browser.ask(f"{domain}.enable", session)
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.ask("Emulation.setDeviceMetricsOverride", session, **screen)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.ask("Emulation.setEmulatedMedia", session, features=scheme)
    browser.ask("Page.navigate", session, url=page.as_uri())
    browser.wait_for("Page.loadEventFired")
    seen = Visit()
    for name, expression in questions.items():
        answer = browser.ask("Runtime.evaluate", session, expression=expression, returnByValue=True)
        seen.answers[name] = answer["result"].get("value")
    if images:
        shot = browser.ask("Page.captureScreenshot", session, captureBeyondViewport=True)
        seen.screenshot = base64.b64decode(shot["data"])
        seen.pdf = base64.b64decode(browser.ask("Page.printToPDF", session, preferCSSPageSize=True)["data"])
    for event in browser.events:
        told = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            seen.requests.append(told["request"]["url"])
        elif event["method"] == "Log.entryAdded":
            seen.complaints.append(told["entry"]["text"])
        elif event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            seen.complaints.append(json.dumps(told))
    return seen


class _Browser:
    """A Chromium process; it reads commands from its file descriptor 3 and writes to 4, each ended by a zero byte."""

    def __init__(self, profile: Path) -> None:
        read_here, written_there = os.pipe()
        read_there, written_here = os.pipe()
        command = [
            "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={profile}",
        ]  # fmt: skip
        # The shell moves the pipes to 3 and 4 without running Python between fork and exec.
        script = f'exec "$0" "$@" 3<&{read_there} 4>&{written_there}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", script, str(chromium()), *command],
            pass_fds=(read_there, written_there), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(read_there)
        os.close(written_there)
        self._in, self._out = read_here, written_here
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(self._out, rest) :]
        while True:
            reply = self._next()
            if reply.get("id") == self._number:
                assert "error" not in reply, f"{method}: {reply['error']}"
                return reply["result"]
            self.events.append(reply)

    def wait_for(self, method: str) -> None:
        """Read on until an event has come."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._next())

    def close(self) -> None:
        """End the process, and with it those it started, which write to the profile until then."""
        try:
            self.ask("Browser.close")
        except (AssertionError, OSError):
            self._process.terminate()
        os.close(self._out)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            chunk = os.read(self._in, 1 << 16)
            assert chunk, "the browser ended"
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)
