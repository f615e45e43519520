"""Starts the server (COURIER_BINARY, else the release build) on a free port, knows where it listens, and ends it by its
own process id.

A stopped server must have exited as expected, with no panic and with nothing but JSON lines on its stderr: every test
that uses one checks that much without asking.
"""

import json
import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from support import tokens, web

PROJECT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("COURIER_BINARY", PROJECT / "target/release/courier"))
START_SECONDS = 15
RUN_SECONDS = 10
STOP_SECONDS = 40
SETTLE_SECONDS = 10
# Two shards wherever it runs; a short drain; no heartbeat within a test that does not ask for one.
DEFAULTS = {"port": 0, "shards": 2, "shutdown.grace": 1, "heartbeat_interval": 300}
LISTENS = re.compile(r"^Courier listens on https?://(127\.0\.0\.1|\[::1\]|[0-9.]+):([0-9]+)$")
PANIC = re.compile(r"panicked at|stack backtrace|RUST_BACKTRACE|fatal runtime error", re.IGNORECASE)


class StartFailed(AssertionError):
    """The server ended or stayed silent instead of saying where it listens."""


def environment(settings: dict | None = None) -> dict[str, str]:
    """The variables of a server: none inherited from the caller's COURIER_*, `a.b` becomes COURIER_A__B."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COURIER_")}
    for name, value in (settings or {}).items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        kept["COURIER_" + name.upper().replace(".", "__")] = text
    return kept


def wait_until(condition, *, seconds: float = SETTLE_SECONDS, what: str = "condition"):
    """Asks until the condition holds and answers its value; for states that a server only shows when asked."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return value


def run_to_end(
    *arguments, settings: dict | None = None, prefix=(), binary=BINARY, seconds: float = RUN_SECONDS
):
    """Runs a command of the binary that is expected to end by itself."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        return subprocess.run(
            [*prefix, str(binary), *map(str, arguments)],
            env=environment(settings), cwd=folder, capture_output=True, text=True, timeout=seconds,
        )  # fmt: skip


class Courier:
    """A running server. `settings` are environment settings, `config` the text of a settings file."""

    def __init__(
        self, settings: dict | None = None, *, config: str | None = None, arguments=("serve",), prefix=()
    ):
        self.settings = DEFAULTS | (settings or {})
        self.settings = {name: value for name, value in self.settings.items() if value is not None}
        self.folder = tempfile.TemporaryDirectory(prefix="courier-test-")
        self.config_path = Path(self.folder.name) / "settings.yaml"
        self.arguments = list(map(str, arguments))
        if config is not None:
            self.config_path.write_text(config)
            self.arguments += ["--config", str(self.config_path)]
        self.prefix = list(prefix)
        self.expected_exit = 0
        self.process = None
        self.pid = self.port = 0
        self.told_to_stop = False
        self.logs_are_json = True

    def start(self) -> "Courier":
        self.stderr_file = open(Path(self.folder.name) / "stderr", "w+b")
        self.process = subprocess.Popen(
            [*self.prefix, str(BINARY), *self.arguments],
            env=environment(self.settings), cwd=self.folder.name, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=self.stderr_file,
        )  # fmt: skip
        self.pid = self.process.pid
        self.first_line = self._read_line()
        found = LISTENS.match(self.first_line)
        if not found:
            raise StartFailed(f"said {self.first_line!r}; stderr: {self.stderr()[-2000:]}")
        self.port = int(found[2])
        return self

    def _read_line(self) -> str:
        selector = selectors.DefaultSelector()
        selector.register(self.process.stdout, selectors.EVENT_READ)
        line = b""
        while not line.endswith(b"\n"):
            if not selector.select(START_SECONDS):
                self.process.kill()
                raise StartFailed(f"silent for {START_SECONDS} s; stderr: {self.stderr()[-2000:]}")
            piece = os.read(self.process.stdout.fileno(), 1)
            if not piece:
                self.process.wait(START_SECONDS)
                raise StartFailed(f"exit {self.process.returncode}; stderr: {self.stderr()[-2000:]}")
            line += piece
        return line.decode().rstrip("\n")

    def stderr(self) -> str:
        return (Path(self.folder.name) / "stderr").read_text(errors="replace")

    def signal(self, number: int):
        self.told_to_stop |= number in (signal.SIGTERM, signal.SIGINT)
        os.kill(self.pid, number)

    def wait_exit(self, seconds: float = STOP_SECONDS) -> int:
        return self.process.wait(seconds)

    def stop(self):
        """Ends the server unless a test has told it to (a second signal would cut its drain), then checks it."""
        if self.process is None:
            return
        process, self.process = self.process, None
        panics = None
        if self.port and process.poll() is None and not self.told_to_stop:
            panics = self._count_panics()
        try:
            code = self._end(process)
        finally:
            process.stdout.close()
            text = self.stderr()
            self.stderr_file.close()
            self.folder.cleanup()
        assert panics in (0, None), (panics, text[-4000:])
        assert not PANIC.search(text), text[-4000:]
        assert self.expected_exit is None or code == self.expected_exit, (process.args, code, text[-2000:])
        for line in text.splitlines() if self.logs_are_json else ():
            assert isinstance(json.loads(line), dict), line

    def _count_panics(self) -> int | str:
        """Panics that the server has caught, or why it could not say so."""
        try:
            return sum(shard["panics"] for shard in self.stats()["shards"])
        except (OSError, AssertionError) as error:
            return f"/stats gave no answer at the end: {error!r}"

    def _end(self, process: subprocess.Popen) -> int:
        if process.poll() is None and not self.told_to_stop:
            self.signal(signal.SIGTERM)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(
                f"still running {STOP_SECONDS} s after the signal: {self.stderr()[-2000:]}"
            ) from None

    def socket_url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def request(self, method: str, target: str, body: bytes | None = None, headers: dict | None = None):
        return web.request(self.port, method, target, body, headers)

    def get(self, target: str, headers: dict | None = None):
        return self.request("GET", target, None, headers)

    def post(self, target: str, body: bytes | dict, headers: dict | None = None):
        return self.request(
            "POST", target, body if isinstance(body, bytes) else json.dumps(body).encode(), headers
        )

    def publish(self, channel: str, event: bytes | dict) -> dict:
        """Publishes one event and answers the body of the 200."""
        answer = self.post(f"/publish/{channel}", event)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json()

    def stats(self, headers: dict | None = None) -> dict:
        """The state, asked for with a token where one is needed."""
        if headers is None and self.settings.get("auth.mode") == "required":
            headers = tokens.bearer(tokens.mint("operator", secret=self.settings["auth.jwt.secret"]))
        return self.get("/stats", headers).json()

    def await_clients(self, count: int, seconds: float = SETTLE_SECONDS):
        """Waits until exactly `count` sockets are counted."""
        wait_until(lambda: self.stats()["active_clients"] == count, seconds=seconds,
                   what=f"{count} active clients, is {self.stats()['active_clients']}")  # fmt: skip

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))
