"""A headless Chromium, driven through its debugging pipe, to see pages as readers do."""

import base64
import json
import os
import shutil
import subprocess
import time

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe")
KEYS = {"Enter": ("\r", 13), "Escape": ("", 27), "Tab": ("", 9)}


class Browser:
    """One page of a browser.

    Attributes:
        complaints: Errors and warnings in the console.
        requests: The addresses that were loaded.
    """

    def __init__(self, profile):
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()
        line = f'exec "$0" "$@" 3<&{commands} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", line, BROWSER, *OPTIONS, f"--user-data-dir={profile}"],
            pass_fds=(commands, answers),
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._buffer, self._count, self._session = b"", 0, None
        self.complaints, self.requests = [], []
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        attached = self._send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session = None
        self._send("Browser.close")
        self._process.wait(timeout=60)
        os.close(self._read)
        os.close(self._write)

    def open(self, file, width, dark=False, height=900):
        """Show a file in a window of a width."""
        self.visit(file.as_uri(), width, dark, height)

    def visit(self, address, width, dark=False, height=900):
        """Show the page at an address in a window of a width."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._send("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._send("Emulation.setDeviceMetricsOverride", **size)
        self._send("Page.navigate", url=address)
        self._until("Page.loadEventFired")

    def ask(self, expression):
        """Return the value of an expression."""
        answer = self._send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression, seconds=120):
        """Return the value of an expression as soon as there is one."""
        end = time.monotonic() + seconds
        while not (value := self.ask(expression)):
            assert time.monotonic() < end, f"{expression} is {value} after {seconds} seconds"
            time.sleep(0.1)
        return value

    def press(self, key):
        """Press a key."""
        text, code = KEYS[key]
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self._send("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        self._send("Input.dispatchKeyEvent", type="keyUp", **named)

    def picture(self, whole=True):
        """Return the page as a PNG."""
        answer = self._send("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])

    def _send(self, method, **parameters):
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]

    def _until(self, event):
        while self._next().get("method") != event:
            pass

    def _next(self):
        while b"\0" not in self._buffer:
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has gone"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method, event):
        if method == "Network.requestWillBeSent":
            self.requests.append(event["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(event["exceptionDetails"]["text"])
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.complaints.append(event["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning"):
            self.complaints.append(str(event["args"]))


def assert_readable(browser, file, prepare="0"):
    """Check that a page fits a phone and a desk, has two colour schemes, and needs nothing else.

    Arguments:
        browser: The browser.
        file: The page.
        prepare: Expression that brings it into the state to check.
    """
    grounds = set()
    for width in (400, 1600):
        for dark in (False, True):
            browser.open(file, width, dark)
            browser.ask(prepare)
            assert browser.ask("document.documentElement.scrollWidth") <= width
            assert browser.ask("document.fonts.status") == "loaded"
            grounds.add(browser.ask("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2, "a light and a dark one"
    assert browser.complaints == []
    assert {url for url in browser.requests if not url.startswith("data:")} == {file.as_uri()}
