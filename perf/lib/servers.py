"""Servers under test: started for some rounds, pinned to a core, found by the port that they print, ended by pid."""

import base64
import hmac
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

PERF = pathlib.Path(__file__).resolve().parent.parent
ROOT = PERF.parent
CACHE = PERF / ".cache"
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
EXAMPLES = TARGET / "release" / "examples"
SERVER_CORE, LOAD_CORE = 0, 1
START_SECONDS_MAX = 15
STOP_SECONDS_MAX = 2
# Room for the idle connections of AG and CG, the subscribers and the publishers.
CONNECTIONS_MAX = 18_000


class Unavailable(Exception):
    """A contestant that cannot be had here, and why."""


class Server:
    """A process whose output names its port, as `pattern` finds it; `cores` is a list as taskset takes it.

    One that is `restless` needs its core while it has nothing to do, and is held while others are measured.
    """

    restless = False

    def __init__(self, command, environment=None, pattern=r"http://[^:]+:(\d+)", cores=str(SERVER_CORE), options=(),
                 restless=False):
        self.options, self.restless = list(options), restless
        self.output = []
        self.process = subprocess.Popen(
            ["taskset", "-c", cores, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **(environment or {})}, cwd=tempfile.gettempdir())
        self.pids = [self.process.pid]
        self.port = self._port(re.compile(pattern))

    def _port(self, pattern):
        """The port once it is printed; a thread reads on, so that the server never blocks on its output."""
        found = threading.Event()
        threading.Thread(target=self._read, args=(pattern, found), daemon=True).start()
        found.wait(START_SECONDS_MAX)
        for line in self.output:
            if match := pattern.search(line):
                return int(match[1])
        self.stop()
        raise Unavailable(f"it did not start: {' '.join(self.output[-3:]).strip() or 'it said nothing'}")

    def _read(self, pattern, found):
        for line in self.process.stdout:
            self.output = [*self.output[-50:], line]
            if pattern.search(line):
                found.set()
        found.set()

    def hold(self):
        if self.restless:
            self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        if self.restless:
            self.process.send_signal(signal.SIGCONT)

    def stop(self):
        self.go_on()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def courier(path, shards=1, core=SERVER_CORE, history=0, secured=False, checked=False):
    """Starts the Courier binary at `path` on `core`; with more shards than one it uses the load tool's core as well.

    `history` is how many events it keeps of a channel: none, as the rivals, unless that is what is measured. If `secured`
    it asks for a token, if `checked` a schema holds for every event of the load tool; otherwise none is known for their type.
    """
    settings = {"COURIER_SHARDS": str(shards), "COURIER_LOG_LEVEL": "warning", "COURIER_HISTORY__SIZE": str(history),
                "COURIER_MAX_TOTAL_CONNECTIONS": str(CONNECTIONS_MAX)}
    if checked:
        settings |= {"COURIER_SCHEMAS__MODE": "strict", "COURIER_SCHEMAS__DIR": str(PERF / "schemas")}
    if secured:
        settings |= {"COURIER_AUTH__MODE": "required", "COURIER_AUTH__JWT__SECRET": SECRET}
    cores = str(core) if shards == 1 else f"{SERVER_CORE},{LOAD_CORE}"
    return lambda: Server([path, "serve", "0"], settings, cores=cores)


def courier_for(path, workload):
    """Starts the Courier binary at `path` as `workload` wants it."""
    return courier(path, workload.shards, history=workload.history, secured=workload.secured, checked=workload.checked)


def token():
    """A token (RFC 7519, HS256) of one user who may hear and publish on every channel, for one hour."""
    now = int(time.time())
    claims = {"user_id": "load", "wallet_address": "load", "iat": now, "exp": now + 3600, "channels": ["*"],
              "publish": ["*"]}
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    signed = b".".join(base64url(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return (signed + b"." + base64url(hmac.digest(SECRET.encode(), signed, "sha256"))).decode()


def base64url(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=")


# Not a secret: it protects servers that live for seconds on loopback.
SECRET = "the secret of a load test, long enough for HS256"
TOKEN = token()


def floor(kind):
    return lambda: Server([EXAMPLES / "floor", kind])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_listening(port, process):
    until = time.monotonic() + START_SECONDS_MAX
    while process.poll() is None and time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Unavailable("it did not start to listen")
