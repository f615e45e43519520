"""Real WebSocket clients behind one face: Python websockets, Node ws and headless Chromium.

Each socket collects its messages in order; a test awaits a count or the close. The Node and Chromium drivers are small
scripts that speak one JSON object per line.
"""

import asyncio
import itertools
import json
import os
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

NODE_SCRIPTS = Path(__file__).resolve().parents[1] / "server/node"
WAIT_SECONDS = 20
START_SECONDS = 45
LINE_BYTES_MAX = 32 << 20


class Inbox:
    """What one socket has received: messages in order, then perhaps a close."""

    def __init__(self):
        self.messages: list[str | bytes] = []
        self.code: int | None = None
        self.reason = ""
        self._changed = asyncio.Event()

    def put(self, message: str | bytes):
        self.messages.append(message)
        self._changed.set()

    def put_close(self, code: int, reason: str):
        self.code, self.reason = code, reason
        self._changed.set()

    async def wait_for(self, condition, seconds: float = WAIT_SECONDS):
        """Waits until the condition holds, asking after each message and at the close."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until(self, count: int, seconds: float = WAIT_SECONDS) -> list:
        """Waits for `count` messages in all; fails when the socket closes before that."""
        try:
            await self.wait_for(lambda: len(self.messages) >= count or self.code is not None, seconds)
        except TimeoutError:
            raise AssertionError(f"{len(self.messages)} of {count} messages after {seconds} s") from None
        assert len(self.messages) >= count, (
            f"closed {self.code} {self.reason!r} after {len(self.messages)} messages"
        )
        return self.messages

    async def until_message(self, condition, seconds: float = WAIT_SECONDS):
        """Waits for the first message for which the condition holds."""
        found = []

        def seen():
            found[:] = [message for message in self.messages if condition(message)][:1]
            return found or self.code is not None

        await self.wait_for(seen, seconds)
        assert found, f"closed {self.code} {self.reason!r} without it: {self.messages[-5:]}"
        return found[0]

    async def closed(self, seconds: float = WAIT_SECONDS) -> tuple[int, str]:
        """Waits for the close and answers its code and reason."""
        await self.wait_for(lambda: self.code is not None, seconds)
        return self.code, self.reason

    def events(self) -> list[dict]:
        """The messages as JSON, without the dialect's heartbeats and its word of a shutdown."""
        parsed = (json.loads(message) for message in self.messages)
        return [event for event in parsed if event.get("type") not in ("ping", "shutdown")]


class PythonSocket(Inbox):
    """A socket of Python websockets, read all the time by its own task."""

    @classmethod
    async def open(cls, url: str, **options) -> "PythonSocket":
        defaults = {"compression": None, "proxy": None, "ping_interval": None, "max_queue": None, "max_size": None,
                    "open_timeout": 20, "close_timeout": 5}  # fmt: skip
        socket = cls()
        socket.connection = await connect(url, **(defaults | options))
        socket.reader = asyncio.create_task(socket._read())
        return socket

    async def _read(self):
        try:
            async for message in self.connection:
                self.put(message)
        except ConnectionClosed:
            pass
        code = self.connection.close_code
        self.put_close(1006 if code is None else code, self.connection.close_reason or "")

    async def send(self, message: str | bytes):
        await self.connection.send(message)

    async def close(self):
        await self.connection.close()
        await self.reader


class DrivenSocket(Inbox):
    """A socket inside a driver process."""

    def __init__(self, driver: "Driver", number: int):
        super().__init__()
        self.driver, self.number = driver, number
        self.opened = asyncio.get_running_loop().create_future()

    async def send(self, message: str):
        await self.driver.tell({"op": "send", "id": self.number, "text": message})

    async def close(self):
        await self.driver.tell({"op": "close", "id": self.number})
        await self.closed()


class Driver:
    """A Node process that owns sockets (`ws.mjs`) or a Chromium page with sockets (`chromium.mjs`)."""

    @classmethod
    async def start(cls, script: str, *arguments: str) -> "Driver":
        driver = cls()
        driver.sockets: dict[int, DrivenSocket] = {}
        driver.results: dict[int, asyncio.Future] = {}
        driver.numbers = itertools.count(1)
        driver.process = await asyncio.create_subprocess_exec(
            "node", str(NODE_SCRIPTS / script), *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=os.environ, limit=LINE_BYTES_MAX,
        )  # fmt: skip
        ready = await asyncio.wait_for(driver.process.stdout.readline(), START_SECONDS)
        assert json.loads(ready or b"{}") == {"event": "ready"}, f"{script} did not start: {ready!r}"
        driver.reader = asyncio.create_task(driver._read())
        return driver

    async def open(self, url: str) -> DrivenSocket:
        socket = DrivenSocket(self, next(self.numbers))
        self.sockets[socket.number] = socket
        await self.tell({"op": "open", "id": socket.number, "url": url})
        await asyncio.wait_for(asyncio.shield(socket.opened), WAIT_SECONDS)
        return socket

    async def fetch(self, method: str, url: str, body: str | None = None) -> dict:
        """Asks over HTTP from inside the client (Chromium: from the page) and answers `{status, body}`."""
        number = next(self.numbers)
        self.results[number] = asyncio.get_running_loop().create_future()
        await self.tell({"op": "fetch", "id": number, "method": method, "url": url, "body": body})
        return await asyncio.wait_for(self.results[number], WAIT_SECONDS)

    async def tell(self, order: dict):
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        await self.process.stdin.drain()

    async def _read(self):
        while line := await self.process.stdout.readline():
            said = json.loads(line)
            if said["event"] == "result":
                self.results.pop(said["id"]).set_result(said)
                continue
            self._hear(self.sockets[said["id"]], said)

    @staticmethod
    def _hear(socket: DrivenSocket, said: dict):
        if said["event"] == "message":
            socket.put(said["text"])
            return
        if said["event"] == "close":
            socket.put_close(said["code"], said["reason"])
        if not socket.opened.done():
            socket.opened.set_result(said["event"])

    async def stop(self):
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 15)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        self.reader.cancel()


class Clients:
    """All clients of one test."""

    def __init__(self):
        self.drivers: list[Driver] = []
        self.sockets: list[PythonSocket] = []

    async def python(self, url: str, **options) -> PythonSocket:
        socket = await PythonSocket.open(url, **options)
        self.sockets.append(socket)
        return socket

    async def many(self, url, count: int, *, at_once: int = 100) -> list[PythonSocket]:
        """`count` sockets; `url` is text or a function of the number. At most `at_once` handshakes are under way."""
        gate = asyncio.Semaphore(at_once)

        async def open_one(number: int):
            async with gate:
                return await self.python(url(number) if callable(url) else url)

        return await asyncio.gather(*(open_one(number) for number in range(count)))

    async def node(self) -> Driver:
        return await self._drive("ws.mjs")

    async def chromium(self, page_url: str) -> Driver:
        return await self._drive("chromium.mjs", page_url)

    async def _drive(self, script: str, *arguments: str) -> Driver:
        driver = await Driver.start(script, *arguments)
        self.drivers.append(driver)
        return driver

    async def close(self):
        await asyncio.gather(*(socket.close() for socket in self.sockets), return_exceptions=True)
        for driver in self.drivers:
            await driver.stop()
