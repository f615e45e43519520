"""Stand-ins of the original systems' own clients, written from the facts of sources 1.10, 2.6, 3.8 and 4.

They behave as those do, quirks included, and know nothing of Courier: only host and port are given. Times that the
originals count in tens of seconds are arguments.
"""

import asyncio
import contextlib
import json
import time
import uuid
from collections import defaultdict
from datetime import UTC, datetime

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from support.clients import WAIT_SECONDS, DrivenSocket, Driver


class CourierClient:
    """The Python client as Courier's README shows it: `connect()` and `async for event in client.listen()`."""

    def __init__(self, url: str):
        self.url = url

    async def connect(self):
        self.socket = await connect(self.url, proxy=None)

    async def listen(self):
        async for message in self.socket:
            event = json.loads(message)
            if event.get("type") != "ping":
                yield event

    async def close(self):
        await self.socket.close()


class ArcaneClient:
    """ArcaneEventBus: the first message is read as the welcome, all others as events."""

    def __init__(self, base: str, channel: str):
        self.url = f"{base}/ws/events/{channel}"

    async def __aenter__(self):
        self.socket = await connect(self.url, proxy=None)
        self.welcome = json.loads(await asyncio.wait_for(self.socket.recv(), WAIT_SECONDS))
        return self

    async def __aexit__(self, *_):
        await self.socket.close()

    async def event(self) -> dict:
        return json.loads(await asyncio.wait_for(self.socket.recv(), WAIT_SECONDS))


class GadugiClient:
    """Gadugi's client: a subscription id of its own, JSON pings with an echo, a queue and resubscription."""

    def __init__(self, url: str, *, reconnect_interval: float = 1.0, heartbeat_interval: float = 30.0):
        self.url = url
        self.heartbeat_interval = heartbeat_interval
        self.first_wait = self.wait = reconnect_interval
        self.state = "disconnected"
        self.client_id = None
        self.pending: list[dict] = []
        self.subscriptions: dict[str, dict] = {}
        self.callbacks: dict = {}
        self.event_handlers = defaultdict(list)
        self.messages = defaultdict(list)
        self.last_pong = None
        self.tasks: list[asyncio.Task] = []
        self.news = asyncio.Condition()

    async def __aenter__(self):
        await self.connect()
        return self

    async def __aexit__(self, *_):
        self.state = "closed"
        for task in self.tasks:
            task.cancel()
        await self.socket.close()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def connect(self):
        self.client_id, welcomed = None, asyncio.get_running_loop().create_future()
        self.socket = await asyncio.wait_for(
            connect(self.url, max_size=10**7, compression=None, proxy=None), 10
        )
        self.state, self.wait = "connected", self.first_wait
        self.tasks += [asyncio.create_task(self._read(welcomed)), asyncio.create_task(self._beat())]
        self.client_id = await asyncio.wait_for(welcomed, 5)
        for config in self.subscriptions.values():
            await self._send({"type": "subscribe", "subscription": config})
        pending, self.pending = self.pending, []
        for message in pending:
            await self._send(message)

    async def _read(self, welcomed: asyncio.Future):
        with contextlib.suppress(ConnectionClosed):
            async for text in self.socket:
                message = json.loads(text)
                if message["type"] == "welcome":
                    welcomed.set_result(message["client_id"])
                elif message["type"] == "event":
                    self._deliver(message["event"], message.get("subscription_id"))
                elif message["type"] == "pong":
                    self.last_pong = time.time()
                async with self.news:
                    self.messages[message["type"]].append(message)
                    self.news.notify_all()
        if self.state != "closed":
            self.state = "reconnecting"
            self.tasks.append(asyncio.create_task(self._reconnect()))

    async def _reconnect(self):
        while self.state == "reconnecting":
            await asyncio.sleep(self.wait)
            self.wait = min(self.wait * 1.5, 30.0)
            with contextlib.suppress(OSError, TimeoutError):
                await self.connect()

    async def _beat(self):
        while self.state == "connected":
            await self.ping()
            await asyncio.sleep(self.heartbeat_interval)
            if self.last_pong and time.time() - self.last_pong > 2 * self.heartbeat_interval:
                await self.socket.close()

    def _deliver(self, event: dict, subscription_id: str | None):
        if subscription_id in self.callbacks:
            self.callbacks[subscription_id](event)
        for pattern, handlers in self.event_handlers.items():
            if _matches(pattern, event["topic"]):
                for handler in handlers:
                    handler(event)

    async def _send(self, message: dict) -> bool:
        if self.state == "connected":
            with contextlib.suppress(ConnectionClosed):
                await self.socket.send(json.dumps(message))
                return True
        self.pending.append(message)
        return False

    async def ping(self):
        await self._send({"type": "ping", "echo": time.time()})

    async def publish(self, topic: str, payload: dict, priority: int = 5, type: str = "custom", target=None):
        """Answers the event's id, or None when it was only queued."""
        event = gadugi_event(topic, payload, priority, type, target, self.client_id or "client")
        return event["id"] if await self._send({"type": "publish", "event": event}) else None

    async def subscribe(self, topics=None, types=None, priorities=None, sources=None, callback=None):
        config = {"topics": topics or ["*"], "types": types or [], "priorities": priorities or [],
                  "sources": sources or []}  # fmt: skip
        own_id = str(uuid.uuid4())  # kept here and never told: sources 2.6
        self.subscriptions[own_id] = config
        if callback:
            self.callbacks[own_id] = callback
        return own_id if await self._send({"type": "subscribe", "subscription": config}) else None

    async def unsubscribe(self, own_id: str):
        del self.subscriptions[own_id]
        await self._send({"type": "unsubscribe", "subscription_id": own_id})

    def on(self, pattern: str):
        def keep(handler):
            self.event_handlers[pattern].append(handler)
            return handler

        return keep

    async def heard(self, kind: str, count: int = 1) -> list[dict]:
        """Waits for so many messages of a kind (the test's window; the original has handlers for this)."""
        async with asyncio.timeout(WAIT_SECONDS), self.news:
            await self.news.wait_for(lambda: len(self.messages[kind]) >= count)
        return self.messages[kind]


def gadugi_event(topic: str, payload: dict, priority=5, type="custom", target=None, source="client") -> dict:
    """An event with all fields of the model (sources 2.3), as the original client writes it."""
    now = datetime.now(UTC).isoformat()
    metadata = {"created_at": now, "correlation_id": None, "causation_id": None, "user_id": None,
                "session_id": None, "trace_id": None, "span_id": None, "tags": {}, "headers": {}}  # fmt: skip
    return {"id": str(uuid.uuid4()), "topic": topic, "type": type, "priority": priority, "source": source,
            "target": target, "payload": payload, "metadata": metadata, "timestamp": now, "version": "1.0",
            "delivery_status": "pending", "delivery_attempts": 0, "last_delivery_attempt": None,
            "delivery_error": None}  # fmt: skip


def _matches(pattern: str, topic: str) -> bool:
    if pattern == "*":
        return True
    wanted, given = pattern.split("."), topic.split(".")
    return len(wanted) == len(given) and all(w in ("*", g) for w, g in zip(wanted, given, strict=True))


class JavaScriptOriginals(Driver):
    """The JavaScript examples of Courier's README and FreqSearch's document and frontend, in one Node process."""

    @classmethod
    async def launch(cls) -> "JavaScriptOriginals":
        return await cls.start("originals.mjs")

    async def run(self, kind: str, url: str, **options):
        """Runs one example; what it handed to its application comes as messages."""
        socket = DrivenSocket(self, next(self.numbers))
        self.sockets[socket.number] = socket
        await self.tell({"op": "run", "id": socket.number, "kind": kind, "url": url} | options)
        await asyncio.wait_for(asyncio.shield(socket.opened), WAIT_SECONDS)
        return socket
