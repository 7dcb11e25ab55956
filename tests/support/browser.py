"""A headless Chromium that can be told what to do, by its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import connect
from websockets.sync.connection import Connection

_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip
_WAIT_S = 30.0


class Browser:
    """One page of it.

    Args:
        socket: To the page.
    """

    def __init__(self, socket: Connection) -> None:
        self._socket, self._number = socket, 0
        self.requested: list[str] = []
        self("Page.enable")
        self("Network.enable")

    def __call__(self, method: str, **parameters: Any) -> Any:
        """Do something, and wait for what it gives back."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        return self._until(lambda told: told.get("id") == self._number)["result"]

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is there."""
        self("Page.navigate", url=url)
        self._until(lambda told: told.get("method") == "Page.loadEventFired")

    def run(self, script: str) -> Any:
        """What a script in the page gives back."""
        return self("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def submit(self, script: str) -> None:
        """Do something that leads to another page, and wait for that."""
        self.run(script)
        self._until(lambda told: told.get("method") == "Page.loadEventFired")

    def look(self, width: int, *, dark: bool = False) -> None:
        """See the page that wide, in the light or in the dark."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self) -> bytes:
        """The whole page as PNG."""
        return base64.b64decode(self("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def _until(self, fits: Any) -> dict[str, Any]:
        end = time.monotonic() + _WAIT_S
        while True:
            told: dict[str, Any] = json.loads(self._socket.recv(max(0.1, end - time.monotonic())))
            if told.get("method") == "Network.requestWillBeSent":
                self.requested.append(told["params"]["request"]["url"])
            if fits(told):
                return told


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, until the block ends."""
    process = subprocess.Popen(
        ["/usr/bin/chromium", *_OPTIONS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port = _port(profile / "DevToolsActivePort")
        with urlopen(f"http://127.0.0.1:{port}/json", timeout=_WAIT_S) as answer:
            page = next(one for one in json.load(answer) if one["type"] == "page")
        with connect(page["webSocketDebuggerUrl"], max_size=None, open_timeout=_WAIT_S) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def _port(path: Path) -> int:
    end = time.monotonic() + _WAIT_S
    while not path.exists() or not path.read_text():
        assert time.monotonic() < end, "the browser does not start"
        time.sleep(0.1)
    return int(path.read_text().split()[0])
